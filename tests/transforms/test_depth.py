from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx

P = {"embed": jnp.ones(2), "layers": [{"w": jnp.ones((2, 2))}, {"w": jnp.ones((2, 2))}], "head": jnp.ones(2)}
LAYERS = ["^embed", "^layers/0", "^layers/1"]


def factors(tx, p=P):
    """What a gradient of ones becomes, by path."""
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, p), tx.init(p), p)
    keyed = jax.tree_util.tree_leaves_with_path(updates)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): float(u.reshape(-1)[0]) for path, u in keyed}


def test_each_layer_by_its_distance_from_the_output():
    expected = {"embed": 0.25, "layers/0/w": 0.5, "layers/1/w": 1.0, "head": 1.0}
    assert factors(gx.layerwise_decay(0.5, LAYERS)) == pytest.approx(expected)


def test_it_scales_the_learning_rate_and_not_the_direction():
    tx = gx.chain(gx.adam(0.1), gx.layerwise_decay(0.8, LAYERS))
    expected = {"embed": -0.064, "layers/0/w": -0.08, "layers/1/w": -0.1, "head": -0.1}
    assert factors(tx) == pytest.approx(expected, rel=1e-5)


def test_it_keeps_nothing_and_takes_any_selector():
    tx = gx.layerwise_decay(0.5, [gx.under("layers"), lambda path, leaf: path == "head"])
    assert jax.tree.leaves(tx.init(P)) == [tx.init(P).count]
    assert factors(tx) == {"embed": 1.0, "layers/0/w": 0.5, "layers/1/w": 0.5, "head": 1.0}


def test_the_layers_of_electra():
    """Clark et al. 2020, section 3.1: the rate of layer i of n is rate · decayⁿ⁻¹⁻ⁱ."""
    p = {f"layer_{i:02}": jnp.ones(1) for i in range(24)}
    found = factors(gx.layerwise_decay(0.8, [f"^layer_{i:02}$" for i in range(24)]), p)
    np.testing.assert_allclose([found[f"layer_{i:02}"] for i in range(24)], 0.8 ** np.arange(23.0, -1, -1), rtol=1e-6)


@pytest.mark.parametrize(
    ("decay", "layers", "error", "words"),
    [
        (0.0, LAYERS, ValueError, r"decay must be in \(0, 1\], got 0.0"),
        (1.5, LAYERS, ValueError, r"decay must be in \(0, 1\], got 1.5"),
        ("0.5", LAYERS, TypeError, "decay must be a number, got '0.5'"),
        (0.5, [], ValueError, "layers must have at least one entry"),
        (0.5, "encoder", TypeError, "layers must be a sequence of selectors, got 'encoder'"),
    ],
)
def test_bad_arguments_are_refused(decay, layers, error, words):
    with pytest.raises(error, match=words):
        gx.layerwise_decay(decay, layers)


def test_a_layer_that_matches_nothing_is_refused():
    with pytest.raises(ValueError, match=r"matching\('layers/7'\) matches no parameter"):
        gx.layerwise_decay(0.5, [*LAYERS, "layers/7"]).init(P)
