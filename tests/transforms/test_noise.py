from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import gradxform as gx
from tests.trajectories import double


def noise(tx, like, steps=1):
    """What is added to a gradient of zeros at each step."""
    state, found = tx.init(like), []
    for _ in range(steps):
        u, state = tx.update(like, state)
        found.append(u)
    return found


ZEROS = {"a": jnp.zeros((40, 50)), "b": jnp.zeros(2000)}


@pytest.mark.parametrize(("eta", "gamma"), [(0.01, 0.55), (1.0, 0.0), (0.3, 2.0)])
def test_the_variance_falls_as_the_paper_says(eta, gamma):
    """Neelakantan et al. 2015, equation 1, with t from 1: the sum of squares over the variance is chi-squared."""
    for t, u in enumerate(noise(gx.add_noise(eta, gamma, key=0), ZEROS, 4), start=1):
        for x in jax.tree.leaves(u):
            square = np.sum(np.asarray(x, np.float64) ** 2) / (eta / t**gamma)
            assert 1e-4 < stats.chi2.cdf(square, x.size) < 1 - 1e-4


def test_it_is_normal_and_independent():
    """Over elements, leaves and steps."""
    us = noise(gx.add_noise(1.0, 0.0, key=1), ZEROS, 3)
    draws = np.stack([np.ravel(x) for u in us for x in u.values()]).astype(np.float64)
    assert stats.kstest(draws.ravel(), "norm").pvalue > 1e-4
    correlations = np.corrcoef(draws)[np.triu_indices(len(draws), 1)]
    # Of 2000 pairs each, 15 correlations: normal with deviation 1/sqrt(2000), the largest below 4 of them.
    assert np.max(np.abs(correlations)) < 4 / np.sqrt(2000)


def test_the_variance_is_optaxs():
    """The same gradient of zeros: variances of 4000 draws agree within 4 deviations of their quotient."""
    theirs = optax.add_noise(0.3, 0.55, key=0)
    state = theirs.init(ZEROS)
    for ours in noise(gx.add_noise(0.3, 0.55, key=0), ZEROS, 3):
        other, state = theirs.update(ZEROS, state)
        quotient = np.var(np.asarray(ours["a"])) / np.var(np.asarray(other["a"]))
        np.testing.assert_allclose(quotient, 1.0, atol=4 * np.sqrt(2 * 2 / 2000))


def test_gradients_pass_through():
    g = jax.tree.map(lambda x: x + 3.0, ZEROS)
    tx = gx.add_noise(0.1, 0.5, key=4)
    u, _ = tx.update(g, tx.init(g))
    for k, x in noise(tx, ZEROS)[0].items():
        np.testing.assert_allclose(u[k], 3.0 + np.asarray(x, np.float64), rtol=2e-7)


def test_the_path_decides_and_not_the_order():
    """A leaf draws the same numbers whatever stands beside it, in whatever order; another path draws others."""
    tx = gx.add_noise(0.1, 0.5, key=4)
    x = jnp.zeros(5)
    alone = noise(tx, {"m": x})[0]["m"]
    np.testing.assert_array_equal(noise(tx, {"a": x, "m": x, "z": x})[0]["m"], alone)
    np.testing.assert_array_equal(noise(tx, {"a": None, "m": x})[0]["m"], alone)
    others = noise(tx, {"n": x, "m2": x, "sub": {"m": x}})[0]
    assert not any(np.any(other == alone) for other in jax.tree.leaves(others))


def test_a_restart_goes_on_where_it_was():
    tx, g = gx.add_noise(0.1, 0.5, key=4), {"a": jnp.zeros(5)}
    through = noise(tx, g, 3)
    _, state = tx.update(g, tx.init(g))
    held = jax.tree.map(np.array, state)
    u, _ = tx.update(g, jax.tree.map(jnp.asarray, held))
    np.testing.assert_array_equal(u["a"], through[1]["a"])
    assert all(x.dtype in (jnp.int32, jnp.uint32) for x in jax.tree.leaves(state))


def test_keys_of_every_kind():
    g = {"a": jnp.zeros(5)}
    one = noise(gx.add_noise(0.1, 0.5, key=7), g)[0]["a"]
    for key in (np.int64(7), jnp.asarray(7), jax.random.key(7), jax.random.PRNGKey(7)):
        np.testing.assert_array_equal(noise(gx.add_noise(0.1, 0.5, key=key), g)[0]["a"], one)
    assert gx.add_noise(0.1, 0.5, key=7) == gx.add_noise(0.1, 0.5, seed=7)
    large = {int(n): noise(gx.add_noise(0.1, 0.5, key=n), g)[0]["a"] for n in (8, 2**31, 2**32 + 7, 2**63 + 7)}
    assert not any(np.array_equal(x, one) for x in large.values())
    assert len({x.tobytes() for x in large.values()}) == 4
    tx = gx.add_noise(0.1, 0.5, key=2**32 - 1)
    np.testing.assert_array_equal(jax.jit(lambda tx: tx.update(g, tx.init(g))[0]["a"])(tx), noise(tx, g)[0]["a"])


def test_an_ensemble_draws_member_by_member():
    g = {"a": jnp.zeros(5)}

    def draw(key):
        tx = gx.add_noise(0.1, 0.5, key=key)
        return tx.update(g, tx.init(g))[0]["a"]

    keys = jax.random.split(jax.random.key(0), 3)
    found = jax.vmap(draw)(keys)
    for x, key in zip(found, keys, strict=True):
        np.testing.assert_array_equal(x, draw(key))
    assert len(np.unique(found)) == found.size


def test_default_generators_make_no_difference():
    g = {"a": jnp.zeros(5)}
    expected = noise(gx.add_noise(0.1, 0.5, key=7), g)[0]["a"]
    with jax.default_prng_impl("rbg"):
        np.testing.assert_array_equal(noise(gx.add_noise(0.1, 0.5, key=7), g)[0]["a"], expected)
        with pytest.raises(TypeError, match="key must be a key of threefry2x32, got one of rbg"):
            gx.add_noise(0.1, 0.5, key=jax.random.key(7))


def test_complex_and_double_noise():
    with double():
        like = {"z": jnp.zeros(4000, jnp.complex128), "x": jnp.zeros(4000)}
        u = noise(gx.add_noise(4.0, 0.5, key=7), like)[0]
    u = jax.tree.map(np.asarray, u)
    assert u["x"].dtype == jnp.float64
    assert u["z"].dtype == jnp.complex128
    # Variances of 4000 draws, within 5 deviations; real and imaginary parts have half each.
    np.testing.assert_allclose(np.var(u["x"]), 4.0, rtol=5 * np.sqrt(2 / 4000))
    np.testing.assert_allclose([np.var(u["z"].real), np.var(u["z"].imag)], 2.0, rtol=5 * np.sqrt(2 / 4000))


@pytest.mark.parametrize("keys", [{}, {"key": 1, "seed": 1}])
def test_a_key_is_asked_for_once(keys):
    with pytest.raises(ValueError, match="give key or seed, an integer or a JAX key, and only one"):
        gx.add_noise(0.1, 0.5, **keys)
    with pytest.raises(ValueError, match="only one"):
        gx.differentially_private_aggregate(1.0, 1.0, **keys)


def test_noisy_sgd_descends_with_it():
    g = {"a": jnp.ones(5)}
    tx = gx.noisy_sgd(0.5, 0.1, 0.5, key=7)
    u, _ = tx.update(g, tx.init(g))
    drawn = noise(gx.add_noise(0.1, 0.5, key=7), {"a": jnp.zeros(5)})[0]["a"]
    np.testing.assert_allclose(u["a"], -0.5 * (1 + np.asarray(drawn, np.float64)), rtol=3e-7)


def test_decay_stands_behind_noise():
    tx = gx.with_weight_decay(gx.noisy_sgd(0.5, key=7), 0.1, "l2")
    assert [stage.name for stage in tx.stages] == ["add_noise", "weight_decay", "learning_rate"]
