"""Stages at some parameters, in optax's state and beside their neighbours."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as theirs
import pytest

import gradxform.compat.optax as optax
from tests.compat.optax.test_combining import runs
from tests.compat.optax.test_stages import assert_same, trajectory, tree


def by_name(params: Any) -> Any:
    return {name: name == "w" for name in params}


def by_ndim(params: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim > 0, params)


MASKS = {"function": by_ndim, "names": by_name, "tree": {"w": False, "b": [True, False]}, "all": True, "none": False}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_it_runs_with_its_neighbours_and_gives_optaxs_numbers(mask: Any) -> None:
    def make(lib: Any) -> Any:
        return lib.chain(
            lib.clip(0.5), lib.masked(lib.trace(0.9), mask), lib.adamw(0.1, mask=mask), lib.masked(lib.ema(0.5), mask)
        )

    assert runs(make(optax)) == [5, 1]
    assert_same(trajectory(make(optax)), trajectory(make(theirs)), 1e-4)


def test_what_takes_no_part_may_be_of_another_kind() -> None:
    p = {"w": jnp.ones((6, 5)), "b": [jnp.ones(5), jnp.arange(3)]}
    g = {"w": p["w"], "b": [p["b"][0], np.zeros(3, jax.dtypes.float0)]}
    for mask in (by_name, MASKS["tree"]):
        ours, expected = (lib.chain(lib.masked(lib.scale_by_adam(), mask), lib.identity()) for lib in (optax, theirs))
        (a, _), (b, _) = (tx.update(g, tx.init(p), p) for tx in (ours, expected))
        np.testing.assert_allclose(a["w"], b["w"], rtol=1e-4)
        assert a["b"][1].dtype == b["b"][1].dtype


def test_around_more_than_a_stage_it_is_optaxs() -> None:
    halved = theirs.GradientTransformation(lambda p: (), lambda u, s, p=None: (jax.tree.map(lambda x: x / 2, u), s))
    for inner in (lambda lib: lib.adam(0.1), lambda lib: halved):
        ours, expected = (lib.masked(inner(lib), by_name) for lib in (optax, theirs))
        assert_same(trajectory(ours), trajectory(expected), 1e-4)
        assert isinstance(ours.init(tree(0)), theirs.MaskedState)


def test_extra_arguments_may_be_masked_too() -> None:
    seen = []

    def update(u: Any, s: Any, p: Any = None, **extra: Any) -> Any:
        seen.append(extra["tags"])
        return u, s

    inner = theirs.GradientTransformationExtraArgs(lambda p: (), update)
    tx = optax.masked(inner, by_name, mask_compatible_extra_args=True)
    tx.update(tree(0), tx.init(tree(0)), tags=tree(1))
    assert isinstance(seen[0]["b"], theirs.MaskedNode)
