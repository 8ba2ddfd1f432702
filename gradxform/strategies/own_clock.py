"""Parameters that rest at some steps: each with a counter of its own for what is corrected by the steps it took."""

from __future__ import annotations

from typing import Any

from gradxform.core.chain import Chain, map_rules
from gradxform.core.clock import OwnClock
from gradxform.core.lens import Lens, Wrapper, layers
from gradxform.core.rule import Rule, TreeRule
from gradxform.core.types import Transformation, Where
from gradxform.params.select import Either, selector


def own_clock(tx: Transformation, where: Where = None) -> Chain:
    """Correct what is remembered of a parameter by its own steps, those at which it has a gradient: t of each leaf.

    For parameters that rest, whose gradient is None at some steps: when one comes back, bias corrections, first steps
    and periods go on where they stopped, as in torch. Schedules keep the chain's counter; stages without corrections
    stay as they are. With `lazy` the steps of a table count, not those of each row. Inside `guard`, `accumulate` and
    their kin, not around them. where: which parameters, a selector, a regular expression or `(path, leaf) -> bool`.
    Reach: that of the stages. State: as without it, and count, scalar int32, in the memory of each parameter.
    Raises: TypeError if `tx` is not made of rules, or has one that corrects by what it measures of all parameters;
    ValueError if a name in `where` matches nothing, or at init inside `packed`, whose leaves share one counter.
    """
    chosen = None if where is None else selector(where)

    def clock(rule: Rule) -> Rule:
        if not rule.corrects:
            return rule
        if isinstance(layers(rule)[-1], TreeRule):
            raise TypeError(
                f"own_clock counts for each parameter, and {rule.name} measures all of them at once, corrected by the "
                "steps of all: give what rests a gradient of zeros, or take it out with gx.freeze(...)"
            )
        if isinstance(rule, OwnClock):
            either: tuple[Any, ...] = (rule.where, chosen)
            return rule.with_fields(where=None if chosen is None else Either(either))
        if isinstance(rule, Wrapper) and not isinstance(rule, Lens):
            return rule.with_fields(rule=clock(rule.rule))
        return OwnClock(rule, chosen)

    return map_rules(tx, clock, "own_clock")
