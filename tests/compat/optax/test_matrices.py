"""Muon's dimension numbers say what is a matrix: optax's numbers, by our rules."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as theirs
import pytest

import gradxform.compat.optax as optax
from tests.compat.optax.test_stages import alone, assert_same, trajectory

Numbers = theirs.contrib.MuonDimensionNumbers
SHAPES = {"wide": (6, 9), "tall": (9, 4), "heads": (2, 3, 4), "bias": (5,)}
NUMBERS = {"wide": Numbers(1, 0), "tall": Numbers(-2, -1), "heads": Numbers((0, 2), 1), "bias": None}


def tree(seed: int, dtype: Any = jnp.float32) -> Any:
    draw = np.random.default_rng(seed).standard_normal
    return {name: jnp.asarray(draw(shape), dtype) for name, shape in SHAPES.items()}


def matrices(seed: int, dtype: Any = jnp.float32) -> Any:
    return {name: x for name, x in tree(seed, dtype).items() if NUMBERS[name]}


def by_layer(params: Any) -> Any:
    """Stacks of matrices by their last axes, and what is no matrix at rest."""
    return jax.tree.map(lambda x: Numbers(x.ndim - 2, x.ndim - 1) if x.ndim > 1 else None, params)


def test_the_stages_of_matrices_are_ours() -> None:
    muon = theirs.contrib._muon
    given = {"weight_dimension_numbers": {name: n for name, n in NUMBERS.items() if n}}
    for stage, more in (
        (
            muon.scale_by_muon,
            {"ns_coeffs": ((3.4, -4.7, 2.0), (2.8, -3.1, 1.2), (2.0, -1.5, 0.5)), "ns_steps": 3, "adaptive": True},
        ),
        (muon.scale_by_shape, {"consistent_rms": 0.2}),
        (muon.scale_by_shape, {}),
    ):
        ours, expected = (
            trajectory(tx, 3, tree=matrices) for tx in (alone(stage, **given, **more), stage(**given, **more))
        )
        assert_same(ours, expected, 2e-4)  # and 1 - b**t in float32, through products


@pytest.mark.parametrize(
    "given",
    [
        {"muon_weight_dimension_numbers": by_layer, "consistent_rms": 0.2, "adam_weight_decay": 0.1},
        {"muon_weight_dimension_numbers": NUMBERS, "preconditioning": "aol", "mu_dtype": jnp.bfloat16},
    ],
    ids=["stacks", "optax's own"],
)
def test_muon_is_optaxs(given: dict[str, Any]) -> None:
    ours, expected = (trajectory(lib.contrib.muon(0.1, **given), 3, tree=tree) for lib in (optax, theirs))
    assert_same(ours, expected, 2e-4)


def test_what_is_no_matrix_is_refused_by_optax() -> None:
    tx = optax.contrib.scale_by_muon()
    with pytest.raises(ValueError, match="weight dimension numbers"):
        tx.update(jnp.ones(3), tx.init(jnp.ones(3)))
