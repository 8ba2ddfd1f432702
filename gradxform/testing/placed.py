"""Laws of a transformation under strategies, and of what strategies believe of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.rows import Rows
from gradxform.core.types import Transformation
from gradxform.optimizers.adam import adam
from gradxform.optimizers.sgd import sgd
from gradxform.strategies.lazy import Dated, lazy
from gradxform.strategies.packed import packed
from gradxform.strategies.sharded import sharded
from gradxform.strategies.stored import stored_as
from gradxform.testing import laws
from gradxform.testing.case import Case, DoesNotApplyError, by_path, first_line, near, size


def told_facts(case: Case) -> Iterator[str]:
    if len(case.rules) != 1 or case.reach is None:
        raise DoesNotApplyError("facts are tried on one rule at a time")
    facts = case.rules[0].facts
    g, state, p = case.moved
    updates, _ = case.run(g, state, p)
    if facts.keeps_zero:
        some = jax.tree.map(lambda x: x * (np.arange(x.size).reshape(x.shape) % 2), g)
        pairs = zip(*map(jax.tree.leaves, (some, case.run(some, state, p)[0])), strict=True)
        if any(bool((u[x == 0] != 0).any()) for x, u in pairs):
            yield (
                "it says keeps_zero and moves where the gradient is 0, which is never done for sparse rows: leave "
                "keeps_zero out"
            )
    if facts.homogeneous:
        twice, _ = case.run(jax.tree.map(lambda x: 2 * x, g), state, p)
        if not near(twice, jax.tree.map(lambda u: 2 * u, updates)):
            yield (
                "it says homogeneous and twice the gradient is not twice the update, so a loss scale would not cancel: "
                "leave homogeneous out"
            )
    if facts.decay_rates is not None and case.rules[0].remembers:
        yield from _decays(case)


def _decays(case: Case) -> Iterator[str]:
    """Rows that missed some steps, brought up to date at once, beside steps with zero gradients."""
    p = {"table": jnp.ones((3, 2))}
    late = lazy(case.tx, mode="catch_up")
    state, dense = late.init(p), case.tx.init(p)
    for row in (0, 1, 1, 0):
        g = jnp.zeros((3, 2)).at[row].set(jnp.array([0.5, -1.5]))
        _, state = late.update({"table": Rows(np.array([row]), g[row][None], (3, 2))}, state, p)
        _, dense = case.tx.update({"table": g}, dense, p)
    caught_up = jax.tree.map(lambda x: x.memory, state.leaves, is_leaf=lambda x: isinstance(x, Dated))
    first, expected = (jax.tree.map(lambda x: x[0], x) for x in (caught_up, dense.leaves))
    if not near(first, expected):
        yield (
            "its decay_rates do not say what steps without a gradient make of its memory: n of them must be one with "
            "each rate to the power n. Name all of them, or leave decay_rates out"
        )


def joined(case: Case) -> Iterator[str]:
    yield from _as_alone(
        case,
        lambda: packed(case.tx),
        "in a buffer with other leaves it gives other updates, so they depend on the array's shape: facts = "
        "gx.Facts(reach=gx.Reach.ARRAY)",
    )


def split(case: Case) -> Iterator[str]:
    devices = jax.devices()
    if len(devices) == 1:
        raise DoesNotApplyError(
            "there is one device; XLA_FLAGS=--xla_force_host_platform_device_count=8 makes eight of a CPU"
        )
    mesh = jax.sharding.Mesh(np.array(devices[:2]), ("data",))
    yield from _as_alone(
        case,
        lambda: sharded(case.tx, mesh),
        "split over devices it gives other updates, so it looks at more than its part: say so in facts, "
        "gx.Facts(reach=...)",
    )


def _as_alone(case: Case, wrap: Callable[[], Transformation], words: str) -> Iterator[str]:
    """The same updates inside a strategy, which may refuse it."""
    try:
        other = Case(wrap(), case.shapes, case.given)
        found = other.run(*other.moved)[0]
    except (ValueError, TypeError) as error:
        raise DoesNotApplyError(f"refused: {first_line(error)}") from error
    if not near(found, case.run(*case.moved)[0]):
        yield words


def stored(case: Case) -> Iterator[str]:
    plain, _ = case.run(*case.moved)
    for codec in ("bfloat16", "int8"):
        try:
            other = Case(stored_as(codec, case.tx, min_size=0), case.shapes, case.given)
            updates, after = other.run(*other.moved)
        except (ValueError, TypeError) as error:
            raise DoesNotApplyError(f"refused: {first_line(error)}") from error
        if laws.kinds(after) != laws.kinds(other.moved[1]):
            yield f"stored as {codec} a step changes its state: return memory as init makes it"
        for (path, u), exact in zip(by_path(updates).items(), jax.tree.leaves(plain), strict=True):
            if size(u) > 10 * size(exact):
                yield (
                    f"stored as {codec} the update of {path} is as large as {size(u):.3g}, and {size(exact):.3g} "
                    "without: something that it divides by is rounded to 0. Remember its root, or name the other "
                    f'fields alone, gx.stored_as({{"field": "{codec}"}}, tx)'
                )
                return


def foreign_states(case: Case) -> Iterator[str]:
    p, g = (jax.eval_shape(lambda: case.tree(0)) for _ in range(2))
    mine = jax.eval_shape(case.tx.init, p)
    if not jax.tree.leaves(mine):
        raise DoesNotApplyError("it has no state")
    for other in (adam(0.1), sgd(0.1, momentum=0.9)):
        state = jax.eval_shape(other.init, p)
        if laws.same_form(state, mine):
            continue
        try:
            jax.eval_shape(case.update, g, state, p)
        except Exception:
            continue
        yield (
            f"it takes the state of {other!r} for its own, so the checkpoint of another optimizer would go on in "
            "silence: make it of rules, or compare the state's type in update"
        )
        return
