"""Controls in every order: each is refused in words, or trains in float16 and goes on after an overflow."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.catalogue import Entry, entries, tree
from tests.compiler import FAST

SCALE = "dynamic_loss_scale"
WATCH = {"spike": 6.0, "max_consecutive": 5, "then": "accept_finite"}
CONTROLS: dict[str, Callable[[Any], Any]] = {
    SCALE: lambda tx: gx.dynamic_loss_scale(tx, init=2.0**30, window=20),
    "accumulate": lambda tx: gx.accumulate(tx, 2),
    "guard": gx.guard,
    "guard zero": lambda tx: gx.guard(tx, "zero"),
    "guard spike": lambda tx: gx.guard(tx, **WATCH),
    "guard zero spike": lambda tx: gx.guard(tx, "zero", **WATCH),
    "apply_if_finite": lambda tx: gx.apply_if_finite(tx, 3),
    "sam": lambda tx: gx.sam(tx, gx.chain(gx.normalize_by_update_norm(eps=0.0), gx.sgd(0.02))),
    "lookahead": lambda tx: gx.lookahead(tx, 6, 0.5),
}
GUARDS = [name for name in CONTROLS if name.startswith(("guard", "apply"))]
OUTSIDE = "the loss scale goes outside: dynamic_loss_scale"
REFUSED = {
    **{(name, SCALE): OUTSIDE for name in CONTROLS if name != "lookahead"},
    (SCALE, SCALE): "divides the gradient twice",
    **{("sam", name): r"guard goes outside: guard\(sam" for name in GUARDS},
    ("lookahead", "accumulate"): r"accumulate goes outside, around both: accumulate\(",
    ("lookahead", "sam"): r"sam goes outside, around both: sam\(",
}
"""Outer and inner control -> what is said."""

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 3)).astype(np.float16)
TARGETS = X @ np.array([[1.0, -2.0, 0.5], [-1.0, 0.5, 3.0]]).T + RNG.normal(size=(32, 2)) * 0.1
CALLS, BAD = 800, (150, 407, 408, 551)
"""Another target from the middle on; calls whose gradients overflow, whatever the scale."""


def loss(w: Any, times: Any, target: Any) -> Any:
    """Of a product in float16: its cotangent overflows where the loss scale is too large."""
    out = (jnp.asarray(X) @ w.astype(jnp.float16)).astype(jnp.float32)
    return times * jnp.mean((out - target) ** 2)


def nests() -> Iterator[Any]:
    for names in itertools.chain(itertools.product(CONTROLS, repeat=2), itertools.product(CONTROLS, repeat=3)):
        if len(names) == 2 or SCALE in names:
            trains = not any(pair in REFUSED for pair in itertools.combinations(names, 2))
            alike = len(names) == 3 and set(names) & {*GUARDS[1:]}
            yield pytest.param(names, marks=[pytest.mark.slow] * bool(trains and alike), id=" of ".join(names))


def made(names: tuple[str, ...]) -> Any:
    tx = gx.sgd(0.2)
    for name in reversed(names):
        tx = CONTROLS[name](tx)
    return tx


def run(tx: Any, scaled: bool, bad: tuple[int, ...]) -> tuple[Any, Any]:
    """The state, and at every call the loss at the parameters to evaluate with."""

    def body(carry: Any, call: Any) -> Any:
        w, state = carry
        target = jnp.asarray(TARGETS.T, jnp.float32)[call // (CALLS // 2)]
        times = jnp.where(jnp.isin(call, jnp.asarray(bad)), jnp.inf, 1.0)

        def objective(w: Any) -> Any:
            value = loss(w, times, target)
            return gx.scale_loss(state, value) if scaled else value

        updates, state = tx.update(jax.grad(objective)(w), state, w)
        w = gx.apply_updates(w, updates)
        return (w, state), loss(gx.eval_params(tx, state, w), 1.0, target)

    w = jnp.zeros(3)
    train = jax.jit(lambda w: jax.lax.scan(body, (w, tx.init(w)), jnp.arange(CALLS)), compiler_options=FAST)
    (_, state), losses = train(w)
    return state, losses


@pytest.mark.parametrize("names", list(nests()))
def test_every_order_is_refused_or_trains(names: tuple[str, ...]) -> None:
    wrong = [REFUSED[pair] for pair in itertools.combinations(names, 2) if pair in REFUSED]
    if wrong:
        with pytest.raises(ValueError, match="|".join(wrong)):
            made(names)
        return
    survives = SCALE in names or names[0] == "accumulate" or any(name in GUARDS for name in names)
    state, losses = run(made(names), SCALE in names, BAD if survives else ())
    for half, target in enumerate(TARGETS.T):
        best = np.linalg.lstsq(X.astype(np.float64), target, rcond=None)[1][0] / len(X)
        assert losses[(half + 1) * CALLS // 2 - 1] < 1.1 * best + 1e-4
    if SCALE in names:
        found = {name: float(x) for name, x in gx.counters(state).items()}
        assert 2.0**4 < found["loss_scale/scale"] < 2.0**25
        assert found["loss_scale/skipped"] < 0.1 * CALLS


def made_or_refused(make: Callable[[], Any], words: str) -> Any:
    try:
        return make()
    except ValueError as refusal:
        said = str(refusal)
    assert re.search(words, said), said
    return None


@entries()
def test_before_a_loss_scale_stands_only_what_commutes_with_it(entry: Entry) -> None:
    """Scaled gradients in, scaled updates out, whatever the scale was before; to the bit for powers of two."""
    chained = made_or_refused(
        lambda: gx.chain(entry.tx, gx.dynamic_loss_scale(gx.identity())), f"{OUTSIDE}|divides the gradient twice"
    )
    if chained is None:
        return
    params = tree(0)
    state = scaled = entry.tx.init(params)
    for i, scale in enumerate([1.0, 2.0**7, 2.0**-5]):
        updates, state = entry.run(tree(i), state, params)
        found, scaled = entry.run(jax.tree.map(lambda g, scale=scale: g * scale, tree(i)), scaled, params)
        jax.tree.map(lambda u, v, scale=scale: np.testing.assert_array_equal(u * scale, v), updates, found)
    bad, _ = entry.run(jax.tree.map(lambda g: jnp.full_like(g, jnp.inf), tree(0)), state, params)
    assert not any(np.any(np.isfinite(x) & (x != 0)) for x in jax.tree.leaves(bad))


@entries(lambda e: e.axis is None)
def test_behind_accumulate_stands_only_what_rests_between_its_steps(entry: Entry) -> None:
    """It gives what it gives inside."""
    behind = made_or_refused(
        lambda: gx.chain(gx.accumulate(gx.trace(0.5), 2), entry.tx),
        "(accumulate|loss scale) goes outside|unscale goes first|must be the first stage",
    )
    if behind is None:
        return
    within = gx.accumulate(gx.chain(gx.trace(0.5), entry.tx), 2)
    params = tree(0)
    state, other = behind.init(params), within.init(params)
    for i in range(6):
        updates, state = jax.jit(behind.update)(tree(i), state, params, **entry.extra)
        found, other = jax.jit(within.update)(tree(i), other, params, **entry.extra)
        jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-6), updates, found)
