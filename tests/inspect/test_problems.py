from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.inspect.problems import PROBLEMS, deep_linear, quadratic, rosenbrock

KEY = jax.random.key(3)
KEYS = jax.random.split(KEY, 500)


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_is_finite_and_has_a_gradient_everywhere(name):
    problem = PROBLEMS[name]()

    @jax.jit
    def looked_at(key):
        params = problem.init(key)
        return jax.grad(problem.loss_at(key))(params), problem.measured(params)

    grads, measured = looked_at(KEY)
    for g in jax.tree.leaves(grads):
        assert np.all(np.isfinite(g))
    assert any(np.any(g != 0) for g in jax.tree.leaves(grads))
    assert 0.1 < float(measured) < 1e3


def test_rosenbrock_has_its_minimum_at_one():
    loss = rosenbrock().loss
    assert float(loss({"xy": jnp.ones(2)})) == 0.0
    assert float(loss({"xy": jnp.array([-1.2, 1.0])})) == pytest.approx(24.2, rel=1e-6)


def test_the_quadratic_has_its_condition_and_noise_of_its_size():
    problem = quadratic(8, 100.0, noise=0.5)
    curvatures = np.linalg.eigvalsh(np.asarray(jax.jit(jax.hessian(lambda x: problem.measured({"x": x})))(jnp.ones(8))))
    # float32's sums of 8 products, against the largest curvature.
    np.testing.assert_allclose(curvatures, np.geomspace(0.01, 1, 8), atol=2e-6)
    noise = jax.jit(jax.vmap(lambda key: jax.grad(problem.loss_at(key))({"x": jnp.zeros(8)})["x"]))(
        jax.random.split(KEY, 500)
    )
    assert float(jnp.std(noise)) == pytest.approx(0.5, rel=0.05)  # 4000 draws: 1.1 % a standard deviation


def test_the_deep_linear_target_has_its_condition():
    loss = deep_linear(6, layers=1, condition=10.0).loss
    target = -jax.grad(loss)({"layer0": jnp.zeros((6, 6))})["layer0"] * 6 / 2
    np.testing.assert_allclose(np.linalg.svd(target, compute_uv=False), np.geomspace(1, 0.1, 6), rtol=1e-5)


def test_two_losses_are_two_batches():
    problem = PROBLEMS["spirals"]()
    loss = jax.jit(lambda key: problem.loss_at(key)(problem.init(KEY)))
    assert float(loss(KEY)) != float(loss(jax.random.key(4)))


def test_adam_learns():
    found = gx.compare(
        {"adam": gx.adam(0.03)}, ["noisy_quadratic", "logistic", "spirals"], seeds=1, steps=150, progress=False
    )
    for row in found.rows:
        assert row.loss < 0.7 * found.runs[row.problem, "adam"].losses[0, 0, 0], row
