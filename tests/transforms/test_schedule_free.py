from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import double, gradients, near, parameters


def transcript(x, gs, rates, b1=0.9, power=2.0, decay=0.0):
    """Defazio et al. 2024, algorithm 1 for SGD: z, x and y kept apart; the rates are the ones used, warmup included."""
    y, z, total, ys, xs = x, x, 0.0, [], []
    for g, rate in zip(gs, rates, strict=True):
        z = z - rate * (g + decay * y)
        weight = rate**power
        total += weight
        c = weight / total if total else 0.0
        x = (1 - c) * x + c * z
        y = (1 - b1) * z + b1 * x
        ys.append(y)
        xs.append(x)
    return np.stack(ys), np.stack(xs)


def walked(tx, dtype):
    params, grads = (jax.tree.map(lambda x: jnp.asarray(x, dtype), t) for t in (parameters(), gradients()))

    def step(carry, g):
        p, state = carry
        updates, state = tx.update(g, state, p)
        p = gx.apply_updates(p, updates)
        return (p, state), (p, gx.eval_params(tx, state, p), gx.schedule_free_eval_params(state, p))

    run = jax.jit(lambda p, gs: jax.lax.scan(step, (p, tx.init(p)), gs)[1])
    return jax.tree.map(lambda x: np.asarray(x, np.float64), run(params, grads))


CONSTANT, WARMED = np.full(50, 0.1), 0.1 * np.minimum(np.arange(50) / 5, 1.0)
CASES = [
    (lambda: gx.schedule_free_sgd(0.1), {"rates": CONSTANT}),
    (lambda: gx.schedule_free_sgd(0.1, 5, 0.95, 0.01), {"rates": WARMED, "b1": 0.95, "decay": 0.01}),
    (lambda: gx.schedule_free(gx.sgd(0.1), 0.1, 0.8, 0.0), {"rates": CONSTANT, "b1": 0.8, "power": 0.0}),
    (lambda: gx.schedule_free(gx.sgd(gx.tunable(0.1)), gx.tunable(0.1)), {"rates": CONSTANT}),
]


@pytest.mark.reference("Defazio et al. 2024, algorithm 1", "schedule_free", "schedule_free_sgd")
@pytest.mark.parametrize(("make", "kwargs"), CASES)
def test_schedule_free_sgd_is_the_papers(make, kwargs):
    params, grads = parameters(), gradients()
    paths = {k: transcript(params[k], grads[k], **kwargs) for k in params}
    # x is read back from y and z: (y - z) / b1 keeps the rounding of y.
    with double():
        ys, xs, read = walked(make(), jnp.float64)
    near(ys, {k: p[0] for k, p in paths.items()}, 1e-12)
    near(xs, {k: p[1] for k, p in paths.items()}, 1e-12)
    near(read, {k: p[1] for k, p in paths.items()}, 1e-12)
    near(walked(make(), jnp.float32)[1], {k: p[1] for k, p in paths.items()}, 5e-6)


def test_before_the_first_step_the_average_is_the_parameters():
    p = {"w": jnp.asarray([0.1, 0.3])}
    tx = gx.schedule_free_adamw(0.1, 10)
    np.testing.assert_array_equal(gx.eval_params(tx, tx.init(p), p)["w"], p["w"])


def test_an_average_that_cannot_be_read_back_from_y():
    with pytest.raises(ValueError, match=r"b1 must be at least 1.18e-38, the smallest number that float32 divides by"):
        gx.schedule_free_sgd(0.1, b1=1e-50)
