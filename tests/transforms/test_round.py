from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import gradxform as gx
from gradxform.transforms.round import joined, split

BF16 = jnp.bfloat16
RNG = np.random.default_rng(0)
P = jnp.asarray(RNG.normal(size=(16, 64)) * np.logspace(-6, 3, 64), BF16)
STEPS = [np.float32(RNG.normal(size=P.shape) * 1e-3 * np.logspace(-6, 3, 64)) for _ in range(200)]
MODES = ["stochastic", "kahan", "split16"]


def follow(tx: Any, p: Any, steps: Any) -> tuple[Any, Any]:
    step = gx.make_step(tx)
    p = jnp.copy(p)
    state = tx.init(p)
    for u in steps:
        p, state = step(p, state, u)
    return p, state


def master(p: Any, state: Any) -> Any:
    return joined(p.astype(jnp.float32), gx.view(state, "remainder"))


def test_split16_is_the_float32_master_bit_for_bit() -> None:
    expected = np.asarray(P, np.float32)
    for u in STEPS:
        expected = expected + u
    p, state = follow(gx.round_updates("split16"), P, STEPS)
    np.testing.assert_array_equal(master(p, state), expected)
    assert p.dtype == BF16
    assert gx.view(state, "remainder").dtype == jnp.int16
    # The nearest bfloat16 number; a tie goes away from zero.
    assert np.mean(np.asarray(p) == expected.astype(ml_dtypes.bfloat16)) > 0.999


def test_kahan_keeps_what_rounding_loses() -> None:
    exact = np.asarray(P, np.float64) + np.sum(np.asarray(STEPS, np.float64), 0)
    p, state = follow(gx.round_updates("kahan"), P, STEPS)
    both = np.asarray(p, np.float64) + np.asarray(gx.view(state, "compensation"), np.float64)
    # Each step rounds the compensation to 8 bits, at most 2⁻⁹ of half a step of p.
    size = np.maximum(np.abs(np.asarray(P, np.float64)), np.abs(exact))
    assert np.max(np.abs(both - exact) / size) < 200 * 2.0**-9 * 2.0**-9
    naive, _ = follow(gx.identity(), P, STEPS)
    assert np.abs(np.asarray(naive, np.float64) - exact).mean() > 20 * np.abs(both - exact).mean()


@pytest.mark.parametrize("mode", ["kahan", "split16"])
def test_steps_of_every_size_land_on_the_nearest_number_and_lose_nothing_of_it(mode: str) -> None:
    rng = np.random.default_rng(4)
    p = (rng.choice([-1, 1], 20000) * np.exp2(rng.uniform(-20, 20, 20000))).astype(ml_dtypes.bfloat16)
    half = np.exp2(np.floor(np.log2(np.abs(p.astype(np.float64)))) - 8)  # ties: half a step of p
    sizes = np.where(rng.random(20000) < 0.2, half, np.abs(p.astype(np.float64)) * np.exp2(rng.uniform(-30, 4, 20000)))
    u = (rng.choice([-1, 1], 20000) * sizes).astype(np.float32)
    total = p.astype(np.float32) + u
    after, state = follow(gx.round_updates(mode), jnp.asarray(p), [u])
    nearest = total.astype(ml_dtypes.bfloat16)
    ties = np.abs(total - nearest.astype(np.float32)) == np.abs(
        total - (2 * total - nearest.astype(np.float32)).astype(ml_dtypes.bfloat16).astype(np.float32)
    )
    assert ties.sum() > 1000
    landed = np.asarray(after)
    np.testing.assert_array_equal(landed[~ties], nearest[~ties])
    if mode == "kahan":
        np.testing.assert_array_equal(landed, nearest)
        left = u.astype(np.float64) - (landed.astype(np.float64) - p.astype(np.float64))
        kept = np.asarray(gx.view(state, "compensation"), np.float64)
        assert np.all(np.abs(kept - left) <= 2.0**-8 * np.abs(left) + 2.0**-24 * np.abs(u))
    else:
        np.testing.assert_array_equal(master(after, state), total)


def test_random_rounding_is_right_on_average_and_next_to_the_sum() -> None:
    p = jnp.ones((64, 512), BF16)
    u = np.full(p.shape, 0.2 * 2.0**-7, np.float32)
    after, _ = follow(gx.round_updates("stochastic"), p, [u])
    found = np.asarray(after, np.float64)
    assert set(np.unique(found)) == {1.0, 1.0 + 2.0**-7}
    # 32768 draws of probability 0.2: a deviation of 0.0022.
    assert abs(np.mean(found > 1) - 0.2) < 0.01
    many, _ = follow(gx.round_updates("stochastic"), p, [u] * 100)
    assert abs(np.asarray(many, np.float64).mean() - (1 + 20 * 2.0**-7)) < 0.002


def test_random_rounding_repeats_and_differs_by_seed_and_path() -> None:
    p = {"a": jnp.ones((8, 64), BF16), "b": jnp.ones((8, 64), BF16)}
    u = jax.tree.map(lambda x: np.full(x.shape, 2.0**-9, np.float32), p)
    one, again, other = (
        gx.apply_updates(p, (tx := gx.round_updates("stochastic", seed=s)).update(u, tx.init(p), p)[0])
        for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(one["a"], again["a"])
    assert np.any(one["a"] != one["b"])
    assert np.any(one["a"] != other["a"])
    state = gx.round_updates("stochastic").init(p)
    assert gx.view(state, "seed")["a"].dtype == jnp.uint32


@pytest.mark.parametrize("mode", MODES)
def test_what_is_not_finite_survives(mode: str) -> None:
    p = jnp.asarray([1.0, np.inf, -np.inf, np.nan, 1.0, 1.0, 0.0], BF16)
    u = np.float32([np.nan, 1.0, 1.0, 1.0, np.inf, -np.inf, 0.0])
    tx = gx.round_updates(mode)
    after, state = follow(tx, p, [u, np.zeros(7, np.float32)])
    expected = [np.nan, np.inf, -np.inf, np.nan, np.inf, -np.inf, 0.0]
    np.testing.assert_array_equal(after.astype(jnp.float32), expected)
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in jax.tree.leaves(state))


@pytest.mark.parametrize("mode", MODES)
def test_zero_steps_and_exact_steps_are_exact(mode: str) -> None:
    u = P.astype(jnp.float32)
    np.testing.assert_array_equal(follow(gx.round_updates(mode), P, [0 * u] * 3)[0], P)
    np.testing.assert_array_equal(follow(gx.round_updates(mode), P, [u])[0], 2 * P)
    np.testing.assert_array_equal(follow(gx.round_updates(mode), P, [-u])[0], 0 * P)


def test_a_step_that_cannot_land_leaves_the_master_where_it_lands() -> None:
    """From 1 to 1e-9: no float32 u has 1 + u = 1e-9, and float32 parameters would not get there either."""
    p, state = follow(gx.round_updates("split16"), jnp.ones(1, BF16), [np.float32([-1 + 1e-9])])
    assert master(p, state) == p.astype(jnp.float32)
    assert abs(float(p[0])) <= 2.0**-24


@pytest.mark.parametrize("mode", MODES)
def test_other_dtypes_are_left_alone(mode: str) -> None:
    p = {"a": jnp.ones(3), "b": jnp.ones(3, jnp.float16), "c": jnp.ones(3, BF16)}
    tx = gx.round_updates(mode)
    state = tx.init(p)
    assert state.leaves["a"] == state.leaves["b"] == {}
    assert len(jax.tree.leaves(state.leaves["c"])) == 1
    u = jax.tree.map(lambda x: jnp.full(x.shape, 0.3), p)
    updates, _ = tx.update(u, state, p)
    np.testing.assert_array_equal(updates["a"], u["a"])


def test_split_and_joined_are_inverse_at_the_ends_of_the_range() -> None:
    largest = np.finfo(np.float32).max
    x = np.float32([0.0, -0.0, 1e-38, -1e-38, largest, -largest, np.inf, -np.inf, 1 + 2.0**-8, 1 + 3 * 2.0**-8])
    high, low = split(jnp.asarray(x))
    np.testing.assert_array_equal(np.asarray(joined(high, low)).view(np.int32), x.view(np.int32))
    assert np.isnan(joined(*split(jnp.float32(np.nan))))


def test_lazy_rows_keep_their_remainders() -> None:
    table = jnp.ones((50, 8), BF16)
    tx = gx.lazy(gx.chain(gx.sgd(1.0), gx.round_updates("split16")))
    state = tx.init(table)
    rows = gx.Rows(np.array([3, 9]), np.full((2, 8), 1e-4, np.float32), table.shape)
    for _ in range(3):
        updates, state = tx.update(rows, state, table)
        table = gx.apply_updates(table, updates)
    expected = np.float32(1) - np.float32(1e-4) - np.float32(1e-4) - np.float32(1e-4)
    np.testing.assert_array_equal(master(table, state)[3], expected)
    np.testing.assert_array_equal(master(table, state)[4], 1.0)


def test_bad_arguments_and_complex_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="mode must be one of 'stochastic', 'kahan', 'split16', got 'nearest'"):
        gx.round_updates("nearest")
    with pytest.raises(ValueError, match="round_updates compares numbers"):
        gx.round_updates("kahan").init(jnp.ones(2, jnp.complex64))
    with pytest.raises(ValueError, match="needs the parameters"):
        gx.round_updates("kahan").update(jnp.ones(2), gx.round_updates("kahan").init(jnp.ones(2, BF16)))
    assert repr(gx.round_updates("stochastic", seed=2)) == "round_updates('stochastic', seed=2)"
