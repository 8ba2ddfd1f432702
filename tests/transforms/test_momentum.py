from __future__ import annotations

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import STEPS, agrees, as_written, double, follows, gradients, near, parameters


def descend(tx, rate=0.1):
    return gx.chain(tx, gx.scale_by_learning_rate(rate))


@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.trace(0.8), {"mu": 0.8}),
        (gx.trace(0.8, True), {"mu": 0.8, "nesterov": True}),
        (gx.trace(0.8, dampening=0.5), {"mu": 0.8, "tau": 0.5}),
        (gx.trace(0.8, dampening=0.5, first="gradient"), {"mu": 0.8, "tau": 0.5, "first": "gradient"}),
        (gx.trace(0.8, True, dampening=0.5, first="gradient"),
         {"mu": 0.8, "tau": 0.5, "nesterov": True, "first": "gradient"}),
        (gx.trace(0.8, first="gradient"), {"mu": 0.8}),
        (gx.trace(0.8, False, jnp.bfloat16, dampening=0.5, first="gradient"),
         {"mu": 0.8, "tau": 0.5, "first": "gradient", "keep": transcripts.kept_in(ml_dtypes.bfloat16)}),
    ],
    ids=as_written,
)  # fmt: skip
def test_trace_follows_its_formula(tx, letters):
    follows(descend(tx), transcripts.heavy_ball, 0.1, **letters)


def ema(x, gs, decay, debias=True, keep=transcripts.identity):
    def step(x, m, g, rate, t):
        m = decay * (0.0 if m is None else m) + (1 - decay) * g
        return x - rate * (m / (1 - decay**t) if debias else m), keep(m)

    return transcripts.iterates(step, x, gs, 0.1)


@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.ema(0.9), {"decay": 0.9}),
        (gx.ema(0.6, False), {"decay": 0.6, "debias": False}),
        (gx.ema(0.6, True, jnp.bfloat16), {"decay": 0.6, "keep": transcripts.kept_in(ml_dtypes.bfloat16)}),
        (gx.ema(0.0), {"decay": 0.0}),
    ],
    ids=as_written,
)
def test_ema_follows_its_formula(tx, letters):
    follows(descend(tx), ema, **letters)


def test_dampening_may_start_at_zero():
    """A schedule that is 0 at first must not switch the first-gradient rule off, nor need its value at `init`."""
    tx = descend(gx.trace(0.8, dampening=lambda count: 0.1 * jnp.minimum(count, 5), first="gradient"))

    def transcript(x, gs):
        def step(x, b, g, rate, t):
            tau = 0.1 * min(t - 1, 5)
            b = g if b is None else 0.8 * b + (1 - tau) * g
            return x - rate * b, b

        return transcripts.iterates(step, x, gs, 0.1)

    follows(tx, transcript)
    jax.eval_shape(tx.init, jnp.zeros(3))


def test_first_gradient_means_the_first_one_seen():
    tx = gx.trace(0.5, dampening=0.5, first="gradient")
    p = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
    g = jnp.array([2.0, 4.0])
    u1, state = tx.update({"a": g, "b": None}, tx.init(p), p)
    u2, state = tx.update({"a": g, "b": g}, state, p)
    assert u1["b"] is None
    np.testing.assert_array_equal(u1["a"], g)
    np.testing.assert_array_equal(u2["a"], 0.5 * g + 0.5 * g)
    np.testing.assert_array_equal(u2["b"], g)
    assert state.count == 2


def test_an_absent_gradient_leaves_the_memory_alone():
    tx = gx.trace(0.9)
    p = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
    _, state = tx.update({"a": jnp.ones(2), "b": jnp.ones(2)}, tx.init(p), p)
    updates, after = tx.update({"a": None, "b": jnp.ones(2)}, state, p)
    assert updates["a"] is None
    np.testing.assert_array_equal(after.leaves["a"]["trace"].trace, state.leaves["a"]["trace"].trace)
    np.testing.assert_allclose(after.leaves["b"]["trace"].trace, 1.9)
    new = gx.apply_updates(p, updates)
    np.testing.assert_array_equal(new["a"], p["a"])


@pytest.mark.parametrize(
    ("momentum", "dampening", "nesterov", "weight_decay"),
    [(0.9, 0.0, False, 0.0), (0.9, 0.5, False, 0.0), (0.8, 0.3, False, 0.2), (0.8, 0.0, True, 0.2)],
)
def test_equals_torch_sgd(momentum, dampening, nesterov, weight_decay):
    torch = pytest.importorskip("torch")
    params, grads = parameters(5), gradients(6)
    absent = np.random.default_rng(7).random((STEPS, len(params))) < 0.3
    theirs = {k: torch.tensor(p, dtype=torch.float64, requires_grad=True) for k, p in params.items()}
    peer = torch.optim.SGD(
        theirs.values(), 0.1, momentum, dampening, weight_decay=weight_decay, nesterov=nesterov, foreach=False
    )
    tx = gx.chain(
        gx.add_decayed_weights(weight_decay),
        gx.trace(momentum, nesterov, dampening=dampening, first="gradient"),
        gx.scale_by_learning_rate(0.1),
    )
    with double():
        ours = jax.tree.map(jnp.asarray, params)
        state = tx.init(ours)
        for t in range(STEPS):
            g = {k: None if absent[t, i] else grads[k][t] for i, k in enumerate(params)}
            for k, x in theirs.items():
                x.grad = None if g[k] is None else torch.tensor(g[k], dtype=torch.float64)
            peer.step()
            updates, state = tx.update(jax.tree.map(jnp.asarray, g), state, ours)
            ours = gx.apply_updates(ours, updates)
        near(ours, {k: x.detach().numpy() for k, x in theirs.items()}, 1e-12)


def test_the_sum_is_not_a_mean():
    tx, g = gx.trace(0.5), jnp.ones(1)
    state = tx.init(g)
    for expected in (1.0, 1.5, 1.75, 1.875):
        updates, state = tx.update(g, state)
        np.testing.assert_array_equal(updates, [expected])


def test_memory_is_stored_as_asked():
    p = jnp.zeros(3, jnp.bfloat16)
    assert gx.view(gx.trace(0.9).init(p), "trace").dtype == jnp.float32
    assert gx.view(gx.trace(0.9, accumulator_dtype=jnp.bfloat16).init(p), "trace").dtype == jnp.bfloat16
    assert gx.view(gx.ema(0.9, True, "float16").init(p), "ema").dtype == jnp.float16


@pytest.mark.parametrize(
    ("name", "args"), [("trace", (0.9,)), ("trace", (0.7, True)), ("ema", (0.9,)), ("ema", (0.7, False))]
)
def test_equals_optax(name, args):
    agrees(name, *args)
