"""Laws of a transformation by itself; each gives the sentences that say what is wrong and what to write instead."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.facts import Reach
from gradxform.core.hyper import Schedule, Tunable, hyper_fields
from gradxform.core.lens import Lens
from gradxform.core.step import apply_updates
from gradxform.core.types import OptState, Params, Tree
from gradxform.testing import laws
from gradxform.testing.case import Case, DoesNotApplyError, by_path, first_line, near, size
from gradxform.testing.laws import Change

HUGE = 1e15
"""A gradient whose square float32 still holds."""
MIXES = ((jnp.float32, jnp.float32), (jnp.bfloat16, jnp.float32), (jnp.float32, jnp.bfloat16))
"""Dtypes of parameters and gradients."""


def runs(case: Case) -> Iterator[str]:
    """Before all others: what does not run breaks every law."""
    p = case.tree(0)
    state = case.tx.init(p)
    try:
        updates, _ = case.run(case.tree(1), state, p)
    except jax.errors.ConcretizationTypeError as error:
        yield (
            f"it cannot be compiled, for it asks for a number that is not known yet ({first_line(error)}): write "
            "jnp.where(condition, a, b) for `if`, and jnp's functions for NumPy's and `float`"
        )
        return
    bad = [path for path, u in by_path(updates).items() if size(u) == np.inf]
    if bad:
        yield f"the first update of {bad[0]} is not finite, for a gradient of normal numbers"


def reach(case: Case) -> Iterator[str]:
    said, shape = case.reach, jax.tree.leaves(case.shapes)[case.at].shape
    if said is None:
        raise DoesNotApplyError("what is not made of rules claims no reach, and is neither packed nor split")
    if said == Reach.TREE:
        raise DoesNotApplyError("it looks at the whole tree")
    at, other = case.moved, case.after(3)
    ends = [laws.with_others(case.run, at, (*other[:2], case.tree(s)), [case.tree(s + 1)], case.at) for s in (7, 17)]
    if not laws.same_bits(*ends):
        yield _farther(said, Reach.TREE, "other leaves")
        return
    changes = (
        (0, Change(lambda x: x[::-1], by_rows=True)),
        (1, Change(lambda x: x.reshape(-1)[::-1].reshape(x.shape))),
    )
    looks = ((Reach.ARRAY, "more than a row of it"), (Reach.ROW, "whole rows"))
    for (axis, change), (found, what) in zip(changes[: len(shape)], looks, strict=False):
        alone = laws.alone_along(case.run, at, other, case.at, axis)
        if said < found and not (alone and laws.commutes(case.run, at, case.at, change, case.extras)):
            yield _farther(said, found, what)
            return


def _farther(said: Reach, found: Reach, what: str) -> str:
    how = "make it a gx.TreeRule" if found == Reach.TREE else f"facts = gx.Facts(reach=gx.Reach.{found.name})"
    return (
        f"it says reach {said.name} of itself and looks at {what}: {how}. Packed, split over devices or given sparse "
        "rows it would be wrong without a word"
    )


def fixed_point(case: Case) -> Iterator[str]:
    """For parameters and gradients of other dtypes, traced alone."""
    for of_p, of_g in MIXES:
        p, g = (jax.eval_shape(functools.partial(case.tree, 0, dtype)) for dtype in (of_p, of_g))
        state = jax.eval_shape(case.tx.init, p)
        _, after = jax.eval_shape(case.update, g, state, p)
        where = f"with parameters in {jnp.dtype(of_p)} and gradients in {jnp.dtype(of_g)}"
        if laws.kinds(after) != laws.kinds(state):
            old, new = (dict(zip(by_path(x), laws.kinds(x)[1], strict=True)) for x in (state, after))
            changed = [f"{k} from {old.get(k)} to {new.get(k)}" for k in {**old, **new} if old.get(k) != new.get(k)]
            yield (
                f"{where} a step changes its state ({changed[0]}: shape, dtype, weak type), so jit compiles again and "
                "scan refuses it: make arrays in init in float32, and return each in the dtype in which it came"
            )
            return
        narrow = [k for k, x in by_path(state).items() if jnp.issubdtype(x.dtype, jnp.inexact) and x.dtype.itemsize < 4]
        if narrow and not any(isinstance(rule, Lens) for rule in case.rules):
            yield (
                f"{where} it keeps {narrow[0]} in 16 bits, where a mean with the rate 0.999 stands still: in init of "
                "a rule jnp.zeros_like(p) is float32, and gx.stored_as(codec, tx) stores in fewer bits"
            )
            return


def one_array_once(case: Case) -> Iterator[str]:
    p = case.tree(0)
    seen = {x.unsafe_buffer_pointer(): f"the parameter {k}" for k, x in by_path(p).items()}
    for path, x in by_path(case.tx.init(p)).items():
        other = seen.setdefault(x.unsafe_buffer_pointer(), path)
        if other != path:
            yield (
                f"in the state of init {path} is the same array as {other}, and a step that reuses memory gives it "
                "away twice: jnp.copy(x)"
            )
            return


def unjitted(case: Case) -> Iterator[str]:
    def plain() -> Any:
        with jax.disable_jit():
            return case.update(*case.moved)

    one, two = plain(), plain()
    if not near(two, one, to=case.rounding):
        yield (
            "two updates of one gradient and state differ, so it draws or remembers outside of its state: draw with a "
            "field annotated gx.OwnKey, remember in what init makes"
        )
    elif not near(case.run(*case.moved), one, case.moved[2], case.rounding):
        yield (
            "compiled it gives other numbers than op by op: what it read when it was traced (a variable, NumPy's "
            "random numbers) is a constant there. Make that a field, a memory or an extra argument"
        )


def scanned(case: Case) -> Iterator[str]:
    gs = [case.tree(i) for i in (1, 2, 3)]

    def step(carry: tuple[Params, OptState], g: Tree) -> Any:
        p, state = carry
        updates, state = case.update(g, state, p)
        return (apply_updates(p, updates), state), None

    def train(p: Params) -> Params:
        return jax.lax.scan(step, (p, case.tx.init(p)), jax.tree.map(lambda *x: jnp.stack(x), *gs))[0][0]

    p = case.tree(0)
    state = case.tx.init(p)
    for g in gs:
        updates, state = case.run(g, state, p)
        p = apply_updates(p, updates)
    both = jax.jit(jax.vmap(train))(jax.tree.map(lambda *x: jnp.stack(x), case.tree(5), case.tree(0)))
    if not near(jax.tree.map(lambda x: x[1], both), p, to=case.rounding):
        yield (
            "three steps in a lax.scan, for two trees at once, end elsewhere than three calls: it counts or remembers "
            "outside of its state"
        )


def zero_gradient(case: Case) -> Iterator[str]:
    p = case.tree(0)
    state, zeros = case.tx.init(p), jax.tree.map(jnp.zeros_like, p)
    for g in (zeros, zeros, case.tree(1)):
        updates, state = case.run(g, state, p)
        if np.inf in map(size, jax.tree.leaves(updates)):
            yield (
                "a gradient of 0, as of a parameter that nothing used, makes NaN or infinity: gx.quotient(a, b, eps) "
                "is 0 for 0 / 0"
            )
            return


def huge_gradient(case: Case) -> Iterator[str]:
    p = case.tree(0)
    state = case.tx.init(p)
    start = laws.figures(state)
    for i, g in enumerate([case.tree(1), laws.with_size(case.tree(2), HUGE, False), case.tree(3)]):
        updates, state = case.run(g, state, p)
        spoilt = laws.spoilt(laws.figures(state), start) or laws.spoilt(laws.figures(updates), laws.figures(p))
        if spoilt:
            when = "at once" if i == 1 else "afterwards"
            yield (
                f"one element of {HUGE:g} in a gradient makes {spoilt[0]} infinite or NaN {when}: bound it before it "
                "is raised to a power, jnp.clip(g, -1e9, 1e9), and divide before you multiply"
            )
            return


def resting(case: Case) -> Iterator[str]:
    """A leaf without a gradient at some steps goes on as if those had never been."""
    numbers = [x for rule in case.rules for x in hyper_fields(rule).values()]
    if case.reach in (None, Reach.TREE) or case.draws or any(isinstance(x, Schedule | Tunable) for x in numbers):
        raise DoesNotApplyError("its steps do not follow from the leaf's own gradients alone")
    if any(rule.corrects for rule in case.rules):
        raise DoesNotApplyError(
            "it corrects memory by the steps taken, so a gradient of None is refused; gx.own_clock is for that"
        )

    def train(steps: tuple[int, ...], rests: tuple[int, ...] = ()) -> Tree:
        p = case.tree(0)
        state = case.tx.init(p)
        for t in steps:
            g = laws.at_leaf(case.tree(t), p, case.at, lambda _: None) if t in rests else case.tree(t)
            updates, state = case.run(g, state, p)
            p = apply_updates(p, updates)
        return laws.leaf_of(p, p, case.at)

    if not near(train((1, 2, 3, 4), (2, 3)), train((1, 4)), to=case.rounding):
        yield (
            "a leaf whose gradient was None for two steps goes on otherwise than one that never rested, for its "
            "scalars count the steps of all: leave out `corrects = False`, or keep a counter in its memory"
        )
