"""Float16 training on handwritten digits in which three steps go wrong."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx

load_digits = pytest.importorskip("sklearn.datasets").load_digits

STEPS = 400
INJECTED = {100: np.inf, 200: np.nan, 300: 100.0}
"""Step -> what its gradients are multiplied by: in one element for what is not finite, in all for the last."""


def data() -> tuple[Any, Any]:
    digits = load_digits()
    return jnp.asarray(digits.data / 16.0, jnp.float16), jnp.asarray(digits.target)


X, Y = data()


def parameters() -> Any:
    rng = np.random.default_rng(0)
    return {
        "hidden": jnp.asarray(rng.normal(size=(64, 32)) / 8.0, jnp.float32),
        "out": jnp.asarray(rng.normal(size=(32, 10)) / 6.0, jnp.float32),
    }


def loss(params: Any, x: Any, y: Any) -> Any:
    low = jax.tree.map(lambda p: p.astype(jnp.float16), params)
    logits = (jax.nn.relu(x @ low["hidden"]) @ low["out"]).astype(jnp.float32)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1))


def stepper(tx: Any) -> Any:
    scaled = any(name.startswith("loss_scale") for name in _names(tx))

    @jax.jit
    def step(params: Any, state: Any, i: Any, times: Any) -> Any:
        at = jax.random.choice(jax.random.fold_in(jax.random.key(0), i), len(X), (64,))

        def target(p: Any) -> Any:
            value = loss(p, X[at], Y[at])
            return (gx.scale_loss(state, value) if scaled else value), value

        grads, value = jax.grad(target, has_aux=True)(params)
        whole = jnp.isfinite(times)
        grads["hidden"] = grads["hidden"].at[3, 4].multiply(jnp.where(whole, 1.0, times))
        grads = jax.tree.map(lambda g: g * jnp.where(whole, times, 1.0), grads)
        updates, state = tx.update(grads, state, params, value=value)
        return gx.apply_updates(params, updates), state

    return step


def _names(tx: Any) -> list[str]:
    return [tx.name, *_names(tx.inner)] if hasattr(tx, "inner") else []


SCHEDULE = gx.cosine_decay_schedule(0.01, STEPS)
OPTIMIZER = gx.chain(gx.clip_by_global_norm(10.0), gx.adamw(SCHEDULE, b2=0.99))
GUARDED = gx.guard(OPTIMIZER, spike=10.0)
SCALED = {
    "dynamic": gx.dynamic_loss_scale(GUARDED, init=2.0**10, window=50),
    "static": gx.static_loss_scale(GUARDED, 2.0**10),
}


def bits(tree: Any) -> list[bytes]:
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]


def same_bits(a: Any, b: Any) -> bool:
    return bits(a) == bits(b)


def train(
    tx: Any, injected: Any, left_out: Any = (), seen: Any = lambda i, before, after: None, steps: int = STEPS
) -> Any:
    """Train, without drawing some steps; `seen` looks at parameters and state before and after each injected step."""
    params, step = parameters(), stepper(tx)
    state = tx.init(params)
    for i in range(steps):
        if i in left_out:
            state = left_out[i](state)
            continue
        before = (params, state)
        params, state = step(params, state, i, injected.get(i, 1.0))
        if i in injected:
            seen(i, before, (params, state))
    return params, state


def accuracy(params: Any) -> float:
    logits = jax.nn.relu(X.astype(jnp.float32) @ params["hidden"]) @ params["out"]
    return float(jnp.mean(jnp.argmax(logits, 1) == Y))


@pytest.mark.parametrize("kind", SCALED)
def test_injected_steps_are_as_if_they_had_not_been_drawn(kind: str) -> None:
    """Bit for bit, at each such step and at the end. What moves is the counters and the loss scale, which backs off.

    The run without these steps is handed the loss scale (float16 gradients are rounded to it), and the guard's counts.
    """
    tx, scales = SCALED[kind], {}

    def look(i: int, before: Any, after: Any) -> None:
        (p, s), (q, t) = before, after
        assert same_bits(p, q)
        assert same_bits(s.inner.inner, t.inner.inner)
        assert same_bits(s.inner.statistics, t.inner.statistics)
        scales[i] = lambda state: state._replace(scale=t.scale, good=t.good)

    params, state = train(tx, INJECTED, seen=look)
    without, expected = train(tx, {}, left_out=scales)
    assert same_bits(params, without)
    assert same_bits(state.inner.inner, expected.inner.inner)
    assert same_bits(state.scale, expected.scale)
    assert int(state.inner.inner.count) == STEPS - 3
    assert [int(gx.counters(state)[name]) for name in ("loss_scale/skipped", "guard/skipped")] == [2, 1]
    assert int(gx.counters(expected)["guard/skipped"]) == 0
    assert accuracy(params) > 0.97


@pytest.mark.parametrize("at", [100, 200])
def test_without_skipping_what_is_not_finite_destroys_the_run(at: int) -> None:
    params, _ = train(OPTIMIZER, {at: INJECTED[at]})
    assert all(np.isnan(p).all() for p in jax.tree.leaves(params)) or accuracy(params) < 0.2


def test_without_the_guard_a_hundredfold_gradient_destroys_the_run() -> None:
    """One step of momentum after 300 good ones, and half of what was learnt is gone; Adam would not show it at once."""
    tx = gx.sgd(1.0, 0.5)
    params, _ = train(tx, {300: 100.0}, steps=301)
    guarded, state = train(gx.guard(tx, spike=10.0), {300: 100.0}, steps=301)
    assert int(gx.counters(state)["guard/skipped"]) == 1
    assert accuracy(params) < 0.75
    assert accuracy(guarded) > 0.95
