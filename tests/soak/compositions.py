"""Random compositions on random trees: each holds its laws or is refused in words."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
from hypothesis import strategies as st

import gradxform as gx
from tests.catalogue import CATALOGUE
from tests.trees import TREES, draw, rests

Tx = Any

AROUND: dict[str, Callable[[Tx], Tx]] = {
    "groups": lambda tx: gx.groups([(gx.ndim_at_least(2), tx)], default=gx.sgd(0.1)),
    "masked": lambda tx: gx.masked(tx, gx.ndim_at_least(1)),
    "guard": lambda tx: gx.guard(tx, max_consecutive=3),
    "guard to zero": lambda tx: gx.guard(tx, spike=6.0, max_consecutive=3, then="zero"),
    "apply_if_finite": lambda tx: gx.apply_if_finite(tx, 3),
    "accumulate": lambda tx: gx.accumulate(tx, every=2),
    "dynamic_loss_scale": gx.dynamic_loss_scale,
    "static_loss_scale": lambda tx: gx.static_loss_scale(tx, 128.0),
    "measure": lambda tx: gx.measure(tx, grad_norm=True, update_norm=True),
    "own_clock": gx.own_clock,
    "stored in bfloat16": lambda tx: gx.stored_as("bfloat16", tx, min_size=0),
    "stored in int8": lambda tx: gx.stored_as("int8", tx, min_size=0),
    "master_weights": gx.master_weights,
    "packed": gx.packed,
    "lazy": gx.lazy,
    "lookahead": lambda tx: gx.lookahead(tx, 2, 0.5),
    "cautious": gx.cautious,
    "with_weight_decay": lambda tx: gx.with_weight_decay(tx, 0.1),
    "round_updates": lambda tx: gx.chain(tx, gx.round_updates("split16")),
    "ema_of_params": lambda tx: gx.chain(tx, gx.ema_of_params(0.9)),
    "clipped": lambda tx: gx.chain(gx.clip_by_global_norm(1.0), tx),
    "optax inside": lambda tx: gx.chain(optax.clip(0.5), tx),
    "tunable rate": lambda tx: gx.chain(tx, gx.scale(gx.tunable(0.5))),
}

COMPOSITIONS = st.tuples(
    st.lists(st.sampled_from(sorted(CATALOGUE)), min_size=1, max_size=4),
    st.lists(st.sampled_from(sorted(AROUND)), max_size=3),
)


def made(stages: list[str], around: list[str]) -> Tx:
    tx = CATALOGUE[stages[0]]() if len(stages) == 1 else gx.chain(*(CATALOGUE[name]() for name in stages))
    for name in around:
        tx = AROUND[name](tx)
    return tx


def asked(tx: Tx, grads: Any, state: Any, params: Any) -> Any:
    """One update, with all that a stage may ask for."""

    def value_fn(p: Any, **_: Any) -> Any:
        return sum((jnp.sum(jnp.abs(x) ** 2).astype(jnp.float32) for x in jax.tree.leaves(p)), jnp.float32(0))

    return tx.update(
        grads, state, params, value=jnp.float32(0.5), value_fn=value_fn, grad=grads, grad_fn=lambda p, i: grads
    )


def refusal(error: Exception) -> str | None:
    """What is wrong with how something was refused; None for a sentence of the library's own."""
    raised = traceback.extract_tb(error.__traceback__)[-1]
    if not isinstance(error, TypeError | ValueError):
        return f"{type(error).__name__} from {raised.filename}: {error}"
    if "/gradxform/" not in raised.filename.replace("\\", "/"):
        return f"not in words of its own, from {raised.filename}:{raised.lineno}: {error}"
    return None if len(str(error).split()) > 4 else f"not in words: {error}"


def kinds(tree: Any) -> Any:
    return jax.tree.structure(tree), [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]


def verdict(stages: list[str], around: list[str], tree: Any, run: bool) -> str:
    """`refused`, `held`, or a sentence about what is wrong. run: compute too, not only shapes."""
    params, grads = draw(tree, grad=False), draw(tree, grad=True)
    try:
        tx = made(stages, around)
        if rests(tree):
            tx = gx.own_clock(tx)
        state = jax.eval_shape(tx.init, params)
        updates, after = jax.eval_shape(lambda *args: asked(tx, *args), grads, state, params)
    except Exception as error:
        return refusal(error) or "refused"
    if kinds(after) != kinds(state):
        return "the state changes its form"
    if jax.tree.structure(updates) != jax.tree.structure(grads):
        return "the updates are not shaped like the gradients"
    new = jax.eval_shape(gx.apply_updates, params, updates)
    if kinds(new) != kinds(params):
        return "the parameters change their form"
    return ran(tx, params, grads, state) if run else "held"


def ran(tx: Tx, params: Any, grads: Any, shapes: Any) -> str:
    """Three steps in one program: what is real is as was told, and finite."""

    def step(carry: Any, _: Any) -> Any:
        params, state = carry
        updates, state = asked(tx, grads, state, params)
        return (gx.apply_updates(params, updates), state), None

    state = tx.init(params)
    if kinds(state) != kinds(shapes):
        return "the state is not what its shapes told"
    new, _ = jax.jit(lambda *carry: jax.lax.scan(step, carry, None, 3))(params, state)[0]
    for x in jax.tree.leaves(new):
        if jnp.issubdtype(x.dtype, jnp.inexact) and not np.all(np.isfinite(np.asarray(x, np.complex64))):
            return "parameters are not finite after finite gradients"
    return "held"


def soak(seed: int, count: int, run_every: int = 10) -> Counter[str]:
    """How many compositions held and were refused. Raises: AssertionError, with the smallest case, for any other."""
    seen: Counter[str] = Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(COMPOSITIONS, TREES)
    def one(composition: tuple[list[str], list[str]], tree: Any) -> None:
        said = verdict(*composition, tree, run=seen.total() % run_every == 0)
        seen[said] += 1
        assert said in ("held", "refused"), said

    one()
    return seen
