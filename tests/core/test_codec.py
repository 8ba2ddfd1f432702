from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core import codecs, float8
from gradxform.core.codec import stored_in
from gradxform.core.codecs import NAMES, Named
from gradxform.optimizers.adam import ScaleByAdam
from tests.trajectories import double


def test_fields_are_stored_in_their_dtype():
    rule = stored_in(ScaleByAdam(), mu=jnp.bfloat16, nu="float16")
    state = gx.lift(rule).init(jnp.ones(2))
    assert gx.view(state, "mu").dtype == jnp.bfloat16
    assert gx.view(state, "nu").dtype == jnp.float16


def test_none_stores_nothing_otherwise():
    rule = ScaleByAdam()
    assert stored_in(rule, mu=None) is rule


def test_it_compares_and_prints():
    assert gx.adam(0.1, mu_dtype=jnp.bfloat16) == gx.adam(0.1, mu_dtype="bfloat16")
    assert hash(gx.adam(0.1, mu_dtype=jnp.bfloat16)) == hash(gx.adam(0.1, mu_dtype="bfloat16"))
    assert gx.adam(0.1, mu_dtype=jnp.bfloat16) != gx.adam(0.1)
    assert ".stored(mu='bfloat16')" in repr(gx.adam(0.1, mu_dtype=jnp.bfloat16))


def test_the_rule_keeps_its_name_facts_and_hyperparameters():
    tx = gx.adam(0.1, b1=0.3, mu_dtype=jnp.bfloat16)
    assert set(gx.hyperparams(tx, tx.init(jnp.ones(1)))) == {
        "adam/b1", "adam/b2", "adam/eps", "adam/eps_root", "learning_rate",
    }  # fmt: skip
    lion = gx.lion(0.1, mu_dtype=jnp.bfloat16)
    with pytest.raises(ValueError, match="lion compares numbers"):
        lion.init(jnp.ones(1, jnp.complex64))


def test_updates_are_computed_before_storing():
    """The step takes the moment as computed; only the next step meets it rounded."""
    g = jnp.array([1.0 + 2**-12], jnp.float32)
    wide, narrow = gx.ema(0.5, False), gx.ema(0.5, False, jnp.bfloat16)
    a, _ = wide.update(g, wide.init(g))
    b, state = narrow.update(g, narrow.init(g))
    np.testing.assert_array_equal(a, b)
    assert gx.view(state, "ema")[0] == 0.5


def test_memory_is_decoded_into_the_computation_dtype():
    with double():
        g = jnp.array([1.0])
        tx = gx.ema(0.9, False, jnp.float32)
        _, state = tx.update(g, tx.init(g))
        held = float(gx.view(state, "ema")[0])
        updates, _ = tx.update(g, state)
        np.testing.assert_allclose(updates, [0.9 * held + 0.1], rtol=1e-15)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
@pytest.mark.parametrize("shape", [(64, 256), (256, 64)])
@pytest.mark.parametrize("codec", NAMES)
def test_the_update_is_that_of_the_memory_as_it_is_stored(codec, shape, platform, monkeypatch, request):
    """Where nothing keeps new memory apart from what reads it too, as on other platforms than the CPU."""
    if platform != "cpu":

        def chosen(*args, default, **there):
            return there.get(platform, default)(*args)

        monkeypatch.setattr(jax.lax, "platform_dependent", chosen)
        monkeypatch.setattr(codecs, "rounded", float8._nearest)
        jax.clear_caches()
        request.addfinalizer(jax.clear_caches)
    rng = np.random.default_rng(0)
    g = jnp.asarray(rng.standard_normal(shape) * np.logspace(-7, 1, shape[1]), jnp.float32)
    tx = gx.stored_as(codec, gx.scale_by_adam(0.8), min_size=0)
    state, step = tx.init(g), jax.jit(tx.update)
    for _ in range(2):
        u, state = step(g, state)
    memory, named = state.leaves["adam"], Named(codec)
    mu, nu = (
        np.asarray(x if named.of(f) is None else named.of(f).decode(x, jnp.float32), np.float64)
        for f, x in memory._asdict().items()
    )
    expected = mu / (1 - 0.8**2) / (np.sqrt(nu / (1 - 0.999**2)) + 1e-8)
    np.testing.assert_allclose(u, np.where(mu == 0, 0, expected), rtol=2e-6)
    assert np.mean(np.abs(mu - 0.36 * np.asarray(g)) > 1e-6 * np.abs(mu)) > 0.5 or codec == "uint8_sqrt"


def test_on_tpus_each_maximum_is_a_reduction_of_its_own():
    """Of two in one the parts on several devices are gathered, leaf by leaf; on GPUs two would copy an array."""
    tx = gx.stored_as("int8", gx.scale_by_adam())
    g = jnp.ones((64, 128))
    traced = jax.jit(tx.update).trace(g, tx.init(g))
    pair = {
        on: bool(
            re.search(r"stablehlo.reduce\(.* init: .*\), \(.* init:", traced.lower(lowering_platforms=(on,)).as_text())
        )
        for on in ("cuda", "tpu")
    }
    assert pair == {"cuda": True, "tpu": False}


def test_a_field_that_no_rule_keeps_is_refused_by_name():
    with pytest.raises(ValueError, match=r"stored_as has 'momentum' for a field, and no rule keeps one; .* mu, nu"):
        gx.stored_as({"momentum": "int8"}, gx.scale_by_adam()).init(jnp.ones((64, 64)))
