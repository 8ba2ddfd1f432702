"""What is known of a rule without running it."""

from __future__ import annotations

import enum

from gradxform.core.value import Value


class Reach(enum.IntEnum):
    """How far a rule looks in order to update one element."""

    ELEMENT = 0
    ROW = 1
    ARRAY = 2
    TREE = 3


class Station(enum.IntEnum):
    """Where in a gradient's life a stage stands; before STEP it sees a direction, behind it a displacement of p."""

    CLEANSE = 0
    DIRECT = 1
    DECAY = 2
    STEP = 3
    LAND = 4


class Facts(Value):
    """What is known of a rule without running it, declared once a class: `facts = Facts(reach=Reach.ROW)`."""

    reach: Reach = Reach.ELEMENT
    station: Station | None = None
    """None where nobody says: it directs, but for a rule without memory in front of one that has some."""
    needs_params: bool = False
    measures_memory: bool = False
    """`measure` of a `TreeRule` takes `ps` and `ms` by keyword: each leaf's parameter and memory. These and its
    gradients are dense then, and float32 or wider."""
    told_by_count: tuple[str, ...] = ()
    """Fields that are read from the counter while they are as `init` made them: new beside memory that is kept."""
    needs: tuple[str, ...] = ()
    """Extra arguments of `update` (such as `value`) that `scalars` takes by keyword."""
    real_only: bool = False
    """Refuse complex parameters by name: the rule compares, or takes signs."""
    keeps_zero: bool = False
    """Zero in gives zero out, element by element, without memory or parameter: sparse rows may stay rows."""
    cheap: bool = False
    """Sooner computed twice than kept, for what sums over its result. So is every `Factor`."""
    decay_rates: tuple[str, ...] | None = None
    """The rates by whose n-th power n updates with a zero gradient are one; None where the memory does otherwise."""
    monotone: bool = False
    """What `remember` gives for the largest sizes of gradient and memory in a block bounds what it gives inside it."""
    turns: bool = False
    """It turns the sign, from a direction into a step: once on the way of a leaf."""
    stored_params: bool = False
    """`update` wants `p` in the dtype that it is stored in (the rule asks where the step will land)."""
    homogeneous: bool = False
    """k·g gives k·u for every k, with nothing remembered: a loss scale may stand behind it, as behind every `Factor` of
    reach `ELEMENT`."""
    rests: bool = False
    """Whatever it remembers, a zero update stays zero and leaves that as it is."""
    unscales: bool = False
    """What stands before it sees gradients of a scaled loss."""
    per_example: bool = False
    """Gradients arrive with a leading axis of examples and leave without it: for the first stage of a chain."""
    matrix: bool = False
    """Written for one matrix, `[rows, columns]`: other arrays are refused, unless a `Matrix` says how they are some."""
    placed: bool = False
    """Of reach `ARRAY` because places in the array count, not what stands elsewhere: matrices are nothing to it."""
