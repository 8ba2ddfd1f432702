from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import STEPS, double, gradients, near, parameters


def descent(x, gs, eta=0.1):
    return x - eta * np.cumsum(gs, axis=0)


def ema(x, gs, decay, debias=True):
    """The average after each step: `Σ (1-d) dᵗ⁻ⁱ xᵢ`, over `1 - dᵗ`, or with the start in place of what is missing."""
    found, a = [], 0.0 if debias else x
    for t, landed in enumerate(descent(x, gs), 1):
        a = decay * a + (1 - decay) * landed
        found.append(a / (1 - decay**t) if debias else a)
    return np.stack(found)


def mean_since(x, gs, every=1, start=0):
    """The mean of the iterates after steps start + every, start + 2 every, ...; the iterate itself before the first."""
    xs = descent(x, gs)
    taken = [[i for i in range(t) if i >= start and (i + 1 - start) % every == 0] for t in range(1, len(xs) + 1)]
    return np.stack([xs[i].mean(axis=0) if i else xs[t] for t, i in enumerate(taken)])


def slow(x, gs, period, pull):
    """Zhang et al. 2019, algorithm 1: the slow weights after each step, beside the fast ones."""
    phi, theta, slows, fasts = x, x, [], []
    for t, g in enumerate(gs, 1):
        theta = theta - 0.1 * g
        if t % period == 0:
            phi = phi + pull * (theta - phi)
            theta = phi
        slows.append(phi)
        fasts.append(theta)
    return np.stack(slows), np.stack(fasts)


def walked(tx, dtype, params=None, grads=None):
    """Iterates and parameters to evaluate with, after each step."""
    params, grads = params or parameters(), grads or gradients()
    params, grads = (jax.tree.map(lambda x: jnp.asarray(x, dtype), t) for t in (params, grads))

    def step(carry, g):
        p, state = carry
        updates, state = tx.update(g, state, p)
        p = gx.apply_updates(p, updates)
        return (p, state), (p, gx.eval_params(tx, state, p))

    run = jax.jit(lambda p, gs: jax.lax.scan(step, (p, tx.init(p)), gs)[1])
    return jax.tree.map(lambda x: np.asarray(x, np.float64), run(params, grads))


CASES = {
    "ema": (lambda: gx.ema_of_params(0.9), lambda x, gs: ema(x, gs, 0.9)),
    "ema slow": (lambda: gx.ema_of_params(0.9999), lambda x, gs: ema(x, gs, 0.9999)),
    "ema of decay zero": (lambda: gx.ema_of_params(0.0), lambda x, gs: ema(x, gs, 0.0)),
    "ema tunable": (lambda: gx.ema_of_params(gx.tunable(0.9)), lambda x, gs: ema(x, gs, 0.9)),
    "ema from the start": (lambda: gx.ema_of_params(0.9, debias=False), lambda x, gs: ema(x, gs, 0.9, False)),
    "polyak": (lambda: gx.polyak_average(), mean_since),
    "polyak late": (lambda: gx.polyak_average(17), lambda x, gs: mean_since(x, gs, 1, 17)),
    "swa": (lambda: gx.stochastic_weight_average(4, 10), lambda x, gs: mean_since(x, gs, 4, 10)),
    "slow": (lambda: gx.pull_to_slow_weights(5, 0.5), lambda x, gs: slow(x, gs, 5, 0.5)[0]),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_parameters_to_evaluate_with(case):
    make, transcript = CASES[case]
    tx = gx.chain(gx.sgd(0.1), make())
    params, grads = parameters(), gradients()
    expected = {k: transcript(params[k], grads[k]) for k in params}
    near(walked(tx, jnp.float32)[1], expected, 2e-6)
    with double():
        # A tunable decay is float64 here too; the logarithm of one near 1 loses two digits.
        near(walked(tx, jnp.float64)[1], expected, 1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_iterates(case):
    params, grads = parameters(), gradients()
    xs = walked(gx.chain(gx.sgd(0.1), CASES[case][0]()), jnp.float32)[0]
    pulled = case == "slow"
    near(
        xs, {k: slow(params[k], grads[k], 5, 0.5)[1] if pulled else descent(params[k], grads[k]) for k in params}, 2e-6
    )


def test_before_the_first_step_they_are_the_parameters():
    for make, _ in CASES.values():
        tx = gx.chain(gx.sgd(0.1), make())
        p = jax.tree.map(jnp.asarray, parameters())
        jax.tree.map(np.testing.assert_array_equal, gx.eval_params(tx, tx.init(p), p), p)


def test_without_an_average_they_are_the_parameters_themselves():
    p = jax.tree.map(jnp.asarray, parameters())
    tx = gx.adamw(0.1)
    found = gx.eval_params(tx, tx.init(p), p)
    assert all(a is b for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(p), strict=True))


def test_through_groups_and_wrappers():
    tx = gx.measure(
        gx.groups(
            [
                ("kernel", gx.chain(gx.sgd(0.1), gx.ema_of_params(0.9))),
                ("bias", gx.chain(gx.sgd(0.1), gx.polyak_average())),
            ],
            default=gx.sgd(0.1),
        ),
        grad_norm=True,
    )
    params, grads = parameters(), gradients()
    expected = {
        "kernel": ema(params["kernel"], grads["kernel"], 0.9),
        "bias": mean_since(params["bias"], grads["bias"]),
        "scale": descent(params["scale"], grads["scale"]),
    }
    near(walked(tx, jnp.float32)[1], expected, 2e-6)
    near(walked(gx.chain(tx, gx.scale(1.0)), jnp.float32)[1], expected, 2e-6)


def test_bfloat16_parameters_are_averaged_as_they_are_stored():
    tx = gx.chain(gx.sgd(0.1), gx.ema_of_params(0.9, debias=False))
    params = {k: np.asarray(jnp.asarray(x, jnp.bfloat16), np.float64) for k, x in parameters().items()}
    p, grads = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), params), gradients(steps=20)
    state, step = tx.init(p), jax.jit(tx.update)
    a = dict(params)
    for t in range(20):
        updates, state = step({k: jnp.asarray(g[t], jnp.float32) for k, g in grads.items()}, state, p)
        p = gx.apply_updates(p, updates)
        a = {k: 0.9 * a[k] + 0.1 * np.asarray(p[k], np.float64) for k in a}
    held = gx.view(state, "average")
    assert {x.dtype for x in jax.tree.leaves(held)} == {jnp.dtype("float32")}
    near({k: np.asarray(x, np.float64) for k, x in held.items()}, a, 2e-6)
    found = gx.eval_params(tx, state, p)
    assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype("bfloat16")}
    jax.tree.map(np.testing.assert_array_equal, found, {k: x.astype(jnp.bfloat16) for k, x in held.items()})


def test_bfloat16_parameters_are_pulled_to_slow_weights_in_float32():
    """Zhang et al. 2019, algorithm 1, with the fast weights rounded to bfloat16 after every step."""
    tx = gx.chain(gx.sgd(0.1), gx.pull_to_slow_weights(3, 0.5))
    p = jnp.asarray([1.0, -2.0, 0.3], jnp.bfloat16)
    state, phi = tx.init(p), np.asarray(p, np.float64)
    theta = phi
    for t, g in enumerate(np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32), 1):
        updates, state = tx.update(jnp.asarray(g), state, p)
        p = gx.apply_updates(p, updates)
        theta = theta - 0.1 * g
        if t % 3 == 0:
            phi = phi + 0.5 * (theta - phi)
            theta = phi
        theta = np.asarray(jnp.asarray(theta, jnp.bfloat16), np.float64)
        np.testing.assert_array_equal(np.asarray(p, np.float64), theta)
        np.testing.assert_allclose(gx.view(state, "slow"), phi, rtol=2e-6)


@pytest.mark.parametrize("case", [c for c in CASES if c != "slow"], ids=str)
def test_a_leaf_that_rests_is_averaged_over_its_own_steps(case):
    tx = gx.own_clock(gx.chain(gx.sgd(0.1), CASES[case][0]()))
    p, rests, gs = {"moves": jnp.ones(2), "rests": jnp.full(2, 3.0)}, [], gradients()["kernel"][:, 0, :2]
    state = tx.init(p)
    for t, g in enumerate(gs):
        rests += [t] if t % 3 != 1 and t > 5 else []
        g = jnp.asarray(g, jnp.float32)
        updates, state = tx.update({"moves": g, "rests": None if t in rests else g}, state, p)
        p = gx.apply_updates(p, updates)
    expected = CASES[case][1](3.0, np.delete(gs, rests, axis=0))[-1]
    np.testing.assert_allclose(gx.eval_params(tx, state, p)["rests"], expected, rtol=2e-6)


@pytest.mark.parametrize("case", [c for c in CASES if c != "slow"], ids=str)
def test_a_leaf_that_is_frozen_is_averaged_to_itself(case):
    tx = gx.chain(gx.freeze("rests"), gx.sgd(0.1), CASES[case][0]())
    p = {"moves": jnp.ones(2), "rests": jnp.full(2, 3.0)}
    state = tx.init(p)
    for t in range(STEPS):
        updates, state = tx.update({"moves": jnp.ones(2), "rests": None if t % 2 else jnp.ones(2)}, state, p)
        p = gx.apply_updates(p, updates)
    np.testing.assert_array_equal(gx.eval_params(tx, state, p)["rests"], [3.0, 3.0])


def test_an_average_in_between_is_not_spoiled_by_a_step_that_is_not_taken():
    tx = gx.chain(gx.sgd(1.0), gx.stochastic_weight_average(2, 0))
    p, state = jnp.zeros(1), tx.init(jnp.zeros(1))
    for g in (1.0, 1.0, jnp.nan):
        updates, state = tx.update(jnp.array([g]), state, p)
        p = gx.apply_updates(p, updates)
    np.testing.assert_array_equal(gx.eval_params(tx, state, p), [-2.0])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: gx.ema_of_params(1.0), r"decay must be in \[0, 1\), got 1.0"),
        (lambda: gx.polyak_average(-1), "start must be at least 0, got -1"),
        (lambda: gx.stochastic_weight_average(0, 0), "every must be at least 1, got 0"),
        (lambda: gx.pull_to_slow_weights(0, 0.5), "period must be at least 1, got 0"),
        (lambda: gx.pull_to_slow_weights(5, 1.5), r"pull must be in \[0, 1\], got 1.5"),
    ],
)
def test_bad_arguments_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def tail(x, gs, decay, start, blend):
    """modded-nanogpt at f411b3d, track 3, record 46: what is evaluated, of `_tailema` filled after `start` steps."""
    found, a = [], None
    for t, w in enumerate(descent(x, gs), 1):
        if t >= start:
            a = w if a is None else a + (w - a) * (1 - decay)
        found.append(w if a is None else (1 - blend) * w + blend * a)
    return np.stack(found)


def test_the_average_of_the_tail():
    params, grads = parameters(), gradients()
    tx = gx.chain(gx.sgd(0.1), gx.ema_of_params(0.9, False, start=20, blend=0.6))
    near(walked(tx, jnp.float32)[1], {k: tail(params[k], grads[k], 0.9, 20, 0.6) for k in params}, 2e-6)
    tx = gx.chain(gx.sgd(0.1), gx.ema_of_params(0.9, start=20))
    late = {k: ema(descent(params[k], grads[k])[19], grads[k][20:], 0.9) for k in params}
    near({k: x[20:] for k, x in walked(tx, jnp.float32)[1].items()}, late, 2e-6)


def nesterov_of_ema(x, gs, betas, gamma, eta=0.1):
    """`EMA_Nesterov` there: points where gradients are taken, from the second on, and where steps land."""
    p, before, m, points, landed = x, x, 0.0, [], []
    for g, beta in zip([*gs, 0 * gs[0]], [0.0, *betas], strict=True):
        p = p + beta * m
        points.append(p)
        p = p - eta * g
        m = gamma * m + (1 - gamma) * (p - before)
        before = p
        landed.append(p)
    return np.stack(points[1:]), np.stack(landed[:-1])


def test_nesterov_along_a_mean():
    betas = np.concatenate([np.zeros(10), np.linspace(0.3, 2.0, 30), np.zeros(10)])
    params, grads = parameters(), gradients()
    tx = gx.chain(gx.sgd(0.1), gx.ema_nesterov(list(betas), 0.8))
    paths = {k: nesterov_of_ema(params[k], grads[k], betas, 0.8) for k in params}
    for dtype, rtol in ((jnp.float32, 2e-6), (jnp.float64, 1e-12)):
        with double():
            found = walked(tx, dtype)
        for i in (0, 1):
            near(found[i], {k: path[i] for k, path in paths.items()}, rtol)
