from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from benchmarks.shapes import gpt2_small
from gradxform.core.blocks import Blocks, Seeded, axes_within, blocks_of
from gradxform.core.codecs import LINEAR, Named
from tests.compiler import FAST

SHAPE = (24, 300)
RNG = np.random.default_rng(0)
PARAMS = {"w": jnp.asarray(RNG.normal(size=SHAPE), jnp.float32), "b": jnp.ones(300)}
GRADS = [jax.tree.map(lambda x: jnp.asarray(RNG.normal(size=x.shape) + 0.3, x.dtype), PARAMS) for _ in range(12)]
CODECS = ["bfloat16", "float16", "int8", "int4", "float8_e4m3"]
ADAMW = gx.adamw(1e-2, weight_decay=0.1)


def run(tx: Any, params: Any = PARAMS, grads: Any = GRADS) -> tuple[Any, Any]:
    step = gx.make_step(tx)
    params = jax.tree.map(jnp.copy, params)
    state = tx.init(params)
    for g in grads:
        params, state = step(params, state, g)
    return params, state


def test_a_gradient_that_is_not_finite_shows_in_the_parameters() -> None:
    tx = gx.stored_as("int8", gx.adam(0.1), min_size=0)
    p = jnp.ones((2, 1024))
    after, _ = run(tx, p, [jnp.ones_like(p).at[1, 5].set(jnp.nan)])
    assert np.isnan(after[1, 5])
    np.testing.assert_allclose(after[0], 0.9, rtol=1e-4)


@pytest.mark.parametrize("codec", CODECS)
def test_training_stays_near_that_with_exact_state(codec: str) -> None:
    """Within what the codec's precision allows: mean distance over mean displacement after 12 steps."""
    (found, state), (expected, _) = run(gx.stored_as(codec, ADAMW)), run(ADAMW)
    off = np.abs(found["w"] - expected["w"]).mean() / np.abs(expected["w"] - PARAMS["w"]).mean()
    assert 0 < off < {"bfloat16": 5e-3, "float16": 1e-3, "int8": 0.03, "int4": 0.35, "float8_e4m3": 0.08}[codec]
    # XLA fuses differently beside encoded leaves: the last bit may differ.
    np.testing.assert_allclose(found["b"], expected["b"], rtol=1e-6)
    assert gx.view(state, "mu")["b"].dtype == jnp.float32


@pytest.mark.parametrize(
    "make", [gx.adam, gx.amsgrad, gx.adamax, gx.rmsprop, gx.radam, gx.adagrad, gx.momentum, gx.lion]
)
def test_every_optimizer_can_be_stored(make: Any) -> None:
    (found, _), (expected, _) = run(gx.stored_as("int8", make(1e-2))), run(make(1e-2))
    off = np.abs(found["w"] - expected["w"]).mean() / np.abs(expected["w"] - PARAMS["w"]).mean()
    assert off < 0.06


@pytest.mark.parametrize(
    "make",
    [gx.adam, gx.amsgrad, gx.adamax, gx.adadelta, gx.adabelief, gx.yogi, gx.adan, gx.lion, gx.radam, gx.adagrad],
)
@pytest.mark.parametrize("shape", [(2, 256), (32, 100), (100, 32)])
def test_no_code_is_cut_off(make: Any, shape: tuple[int, int]) -> None:
    """A block's scale bounds what the block holds, also where sizes cancel: the same signs in gradient and mean."""
    p = jnp.asarray(np.random.default_rng(0).uniform(0.5, 1.5, shape), jnp.float32)
    grads = [
        p * size * jnp.where(jnp.arange(shape[1]) % 3 == 0, sign, 1.0) for size, sign in [(1, 1), (2, -1), (0.1, -1)]
    ]
    coarse = gx.stored_as("int8", make(1e-2), min_size=0)
    state = coarse.init(p)
    for g in grads:
        exact = decoded(state)
        state = coarse.update(g, state, p)[1]
        _, expected = make(1e-2).update(g, exact, p)
        for stage, memory in state.leaves.items():
            for field, x in memory._asdict().items():
                wanted, codec = getattr(expected.leaves[stage], field), Named("int8").of(field)
                off = jnp.abs(root(codec.decode(x, jnp.float32), codec) - root(wanted, codec))
                steps, axes = jnp.maximum(x.scales, 1e-30), axes_within(x.codes.shape, x.scales.shape)
                held = jnp.abs(codec.decode(x, jnp.float32)).max(axes, keepdims=True)
                np.testing.assert_allclose(x.largest, held, rtol=1e-6)
                # Half a step, and a whole one for a small square that is lifted above zero.
                assert float((off / steps).max()) <= (1.0 if codec.root else 0.5) + 1e-3


def decoded(state: Any) -> Any:
    """The state with every encoded statistic in float32."""
    return state._replace(
        leaves={
            stage: memory._replace(
                **{f: Named("int8").of(f).decode(x, jnp.float32) for f, x in memory._asdict().items()}
            )
            for stage, memory in state.leaves.items()
        }
    )


def root(x: Any, codec: Any) -> Any:
    return jnp.sqrt(x) if codec.root else x


def test_adam_by_hand() -> None:
    """Three steps in float64 with the stored moments: the update comes from them, bounds from max|g| and max|s|."""
    p = np.asarray(PARAMS["w"], np.float64)
    m, v = np.zeros(SHAPE), np.zeros(SHAPE)

    def most(x: np.ndarray) -> np.ndarray:
        return np.abs(x).max(0, keepdims=True)

    for t in (1, 2, 3):
        g = np.asarray(GRADS[t]["w"], np.float64)
        m_most, v_most = 0.9 * most(m) + 0.1 * most(g), 0.999 * most(v) + 0.001 * most(g) ** 2
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        m = np.round(m / (m_most / 127)) * (m_most / 127)
        r = np.sqrt(v_most) / 255
        v = (np.maximum(np.round(np.sqrt(v) / r), 1) * r) ** 2
        p -= 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    assert blocks_of(SHAPE) == (1, 300)
    found, _ = run(gx.stored_as("int8", gx.adam(0.01)), PARAMS, GRADS[1:4])
    # A code at a tie may differ by one; such an element then moves a little further or less.
    off = np.abs(np.asarray(found["w"], np.float64) - p)
    assert np.mean(off < 2e-6) > 0.995
    assert off.max() < 2e-3


def test_codecs_by_field_by_parameter_and_by_size() -> None:
    leaf = gx.stored_as({"nu": "uint8_sqrt"}, ADAMW).init(PARAMS).leaves["w"]["adam"]
    assert leaf.mu.dtype == jnp.float32
    assert isinstance(leaf.nu, Blocks)
    assert leaf.nu.codes.dtype == jnp.uint8
    state = gx.stored_as("bfloat16", ADAMW, gx.named("b"), min_size=300).init(PARAMS)
    assert gx.view(state, "mu")["w"].dtype == jnp.float32
    assert gx.view(state, "mu")["b"].dtype == jnp.bfloat16
    assert gx.view(gx.stored_as("int8", ADAMW, min_size=7201).init(PARAMS), "mu")["w"].dtype == jnp.float32


@pytest.mark.parametrize("stochastic", [False, True])
def test_parameters_that_are_not_chosen_train_as_without_it(stochastic: bool) -> None:
    plain, tx = gx.adamw(0.1), gx.stored_as("int8", gx.adamw(0.1), gx.named("w"), min_size=0, stochastic=stochastic)
    (expected, _), (found, state) = run(plain, grads=GRADS[:3]), run(tx, grads=GRADS[:3])
    np.testing.assert_array_equal(found["b"], expected["b"])
    assert state.leaves["b"]["adam"].mu.dtype == jnp.float32
    assert not np.array_equal(found["w"], expected["w"])


def test_bytes_of_gpt2_small() -> None:
    """bfloat16 parameters, their remainder, and two moments in 8 bits with a float32 scale a block."""
    shapes = {k: jax.ShapeDtypeStruct(s, jnp.bfloat16) for k, s in gpt2_small().items()}
    told = gx.explain(gx.chain(gx.stored_as("int8", ADAMW), gx.round_updates("split16")), shapes)
    assert (told.parameter_bytes + told.state_bytes) / told.parameters <= 6.1
    plain = gx.explain(ADAMW, {k: jax.ShapeDtypeStruct(s, jnp.float32) for k, s in gpt2_small().items()})
    assert (plain.parameter_bytes + plain.state_bytes) / plain.parameters == pytest.approx(12, rel=1e-6)


@pytest.mark.parametrize("inner", [ADAMW, gx.chain(gx.clip_by_global_norm(1.0), ADAMW)], ids=["adamw", "clip"])
@pytest.mark.parametrize(("codec", "share"), [("bfloat16", 0.01), ("int8", 0.06)])
def test_no_decoded_copy_of_the_state_is_made(codec: str, share: float, inner: Any) -> None:
    """Nor a copy of the gradients, clipped or not."""
    p = {k: jax.ShapeDtypeStruct((512, 3072), jnp.float32) for k in "abcdefgh"}
    tx = gx.stored_as(codec, inner)
    compiled = gx.make_step(tx).lower(p, tx.init(p), p).compile(FAST)
    assert compiled.memory_analysis().temp_size_in_bytes <= share * 8 * 4 * 512 * 3072


def test_random_rounding_repeats_and_differs_by_seed_path_and_step() -> None:
    p = {"a": jnp.zeros((16, 512)), "b": jnp.zeros((16, 512))}
    g = jax.tree.map(lambda x: jnp.asarray(np.random.default_rng(3).normal(size=x.shape), jnp.float32), p)

    def codes(seed: int, steps: int) -> Any:
        _, state = run(gx.stored_as("int8", gx.ema(0.5), stochastic=True, seed=seed), p, [g] * steps)
        return {k: np.asarray(s["ema"].ema.stored.codes) for k, s in state.leaves.items()}

    first, again, other, later = codes(0, 1), codes(0, 1), codes(1, 1), codes(0, 2)
    np.testing.assert_array_equal(first["a"], again["a"])
    for x, y in ((first["a"], first["b"]), (first["a"], other["a"]), (first["a"], later["a"])):
        assert np.mean(x != y) > 0.05
        assert np.abs(x.astype(int) - y).max() <= (1 if y is not later["a"] else 127)


@pytest.mark.parametrize("codec", ["int8", "bfloat16"])
def test_random_rounding_is_right_on_average(codec: str) -> None:
    """A mean that nearest rounding would freeze: 0.3 of a step beside the largest."""
    x = jnp.full((1024, 64), 1.0 + 2**-9 if codec == "bfloat16" else 0.3 / 127).at[:, ::100].set(1.0)
    encoded = LINEAR[codec].narrowed(LINEAR[codec].encode(x, None, (jnp.uint32(5), jnp.int32(1))))
    found = np.asarray(LINEAR[codec].decode(encoded, jnp.float32), np.float64)
    small = np.asarray(x)[:, 1::100].mean(), found[:, 1:100].mean()
    unit = 2**-7 if codec == "bfloat16" else 1 / 127
    # 64,512 draws: a deviation of 1 % of a step is five standard deviations.
    assert abs(small[0] - small[1]) < 0.02 * unit
    assert LINEAR[codec].decode(LINEAR[codec].encode(x), jnp.float32)[0, 1] != small[0]


def test_it_composes() -> None:
    order = gx.offloaded(gx.stored_as("int8", ADAMW)), gx.stored_as("int8", gx.offloaded(ADAMW))
    assert order[0] == order[1]
    for tx in (
        order[0],
        gx.groups([("b", gx.sgd(0.1))], default=gx.stored_as("int8", ADAMW)),
        gx.stored_as("int8", gx.groups([("b", gx.sgd(0.1))], default=ADAMW)),
        gx.stored_as("int8", gx.adamw(gx.tunable(0.1))),
        gx.chain(gx.clip_by_global_norm(1.0), gx.stored_as("int8", ADAMW), gx.ema_of_params(0.9)),
        gx.stored_as({"mu": "int8"}, gx.stored_as({"nu": "uint8_sqrt"}, ADAMW)),
    ):
        _, state = run(tx, grads=GRADS[:2])
        codes = [x for x in jax.tree.leaves(state) if x.dtype in (jnp.int8, jnp.uint8)]
        assert [x.shape for x in codes] == [SHAPE, SHAPE]
    with pytest.raises(TypeError, match="stored_as works on transformations made of rules; put it inside"):
        gx.stored_as("int8", gx.measure(ADAMW, grad_norm=True))


@pytest.mark.parametrize("mode", ["rest", "catch_up"])
def test_rows_of_codes_move_alone(mode: str) -> None:
    table = jnp.asarray(RNG.normal(size=(200, 256)), jnp.float32)
    tx = gx.lazy(gx.stored_as("int8", gx.adam(0.1)), mode=mode)
    assert mode == "catch_up" or tx == gx.stored_as("int8", gx.lazy(gx.adam(0.1)))
    state = tx.init(table)
    rows = gx.Rows(np.array([7, 3, 7]), np.ones((3, 256), np.float32), table.shape)
    for _ in range(2):
        updates, after = tx.update(rows, state, table)
        moved = gx.apply_updates(table, updates)
        assert set(np.flatnonzero((np.asarray(moved) != np.asarray(table)).any(axis=1))) == {3, 7}
        codes = gx.view(after, "mu").codes
        assert codes.dtype == jnp.int8
        assert set(np.flatnonzero(np.asarray(codes).any(axis=1))) == {3, 7}
        table, state = moved, after


def test_seeds_stand_in_the_state_and_it_is_plain_arrays() -> None:
    state = gx.stored_as("int8", ADAMW, stochastic=True).init(PARAMS)
    assert isinstance(state.leaves["w"]["adam"].mu, Seeded)
    assert all(isinstance(x, jax.Array) and x.dtype != jax.dtypes.prng_key for x in jax.tree.leaves(state))


def test_it_prints_and_compares() -> None:
    tx = gx.stored_as({"mu": "int8"}, gx.scale_by_adam(), "w", stochastic=True, seed=3)
    assert tx == gx.stored_as({"mu": "int8"}, gx.scale_by_adam(), "w", stochastic=True, seed=3)
    assert repr(tx).startswith("stored_as({'mu': 'int8'}, scale_by_adam(")
    assert repr(tx).endswith("seed=3)")


def test_wrong_codecs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"codec must be one of 'bfloat16', .*got 'int3'"):
        gx.stored_as("int3", ADAMW)
    with pytest.raises(ValueError, match=r"stochastic rounding is for .*got 'float16'"):
        gx.stored_as("float16", ADAMW, stochastic=True)


def test_complex_statistics_stay_exact() -> None:
    p = jnp.ones((2, 256), jnp.complex64)
    leaf = gx.stored_as("int8", gx.adam(0.1), min_size=0).init(p).leaves["adam"]
    assert leaf.mu.dtype == jnp.complex64
    assert isinstance(leaf.nu, Blocks)
