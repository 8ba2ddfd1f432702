"""One gradient of any finite size spoils nothing: memory and updates stay finite, and elements move again."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.testing.laws import figures, spoilt, with_size
from tests.catalogue import Entry, entries, tree

SIZES = (1e15, 3e19, 1e30, float(jnp.finfo(jnp.float32).max))
SLOW = {"proximal_adagrad", "chain two clips", "momo", "scale_by_dion2"}
"""Adagrad's sum forgets nothing, and what is left of the rate is lost in rounding where the parameter is subtracted; a
mean of gradients in front of a clip is 1e19 again, which can be squared, after 200 steps; MoMo's step is 0 where the
difference of two means that remember it rounds to less than 0; Dion2 moves the largest columns, which are others."""


def assert_finite(values: dict[str, Any], start: dict[str, Any], what: str) -> None:
    assert spoilt(values, start) == [], f"{what}: {values}"


def run(entry: Entry, gradients: list[Any], p: Any) -> Any:
    """The last updates; parameters stay where they are in a step of no sensible size."""
    state = entry.tx.init(p)
    start, u = figures(state), None
    for i, g in enumerate(gradients):
        u, state = entry.run(g, state, p)
        assert_finite(figures(state), start, f"memory after step {i}")
        assert_finite(figures(u), figures(p), f"updates of step {i}")
        if max(np.abs(np.asarray(x)).max() for x in jax.tree.leaves(u)) < 1e3:
            p = gx.apply_updates(p, u)
    return u


@entries()
def test_one_huge_gradient_spoils_nothing(entry: Entry):
    normal = [tree(i) for i in range(1, 7)]
    usual = run(entry, normal, tree(0))
    for size, everywhere, at in itertools.product(SIZES, (False, True), (0, 1)):
        u = run(entry, [*normal[:at], with_size(normal[at], size, everywhere), *normal[at + 1 :]], tree(0))
        if entry.name not in SLOW and entry.function not in SLOW and not entry.lands:
            for a, b in zip(jax.tree.leaves(u), jax.tree.leaves(usual), strict=True):
                np.testing.assert_array_equal(a != 0, b != 0, f"{size}, {everywhere=}, {at=}")


@entries(lambda e: e.axis is None)
def test_the_largest_of_a_narrow_dtype_spoils_nothing(entry: Entry):
    """bfloat16's, which is float32's, in bias and kernel, and float16's in the scale: one program for both."""
    normal = [tree(i, (jnp.bfloat16, jnp.bfloat16, jnp.float16)) for i in range(1, 5)]
    huge = jax.tree.map(lambda g: with_size(g, float(jnp.finfo(g.dtype).max), everywhere=False), normal[1])
    run(entry, [normal[0], huge, *normal[2:]], tree(0))


STORED = {
    f"{name} {field}": (name, make, field)
    for name in ("bfloat16", "float16", "int8", "int4", "uint8_sqrt", "float8_e4m3")
    for make, field in ((gx.adam, "nu"), (gx.adagrad, "sum_of_squares"), (gx.adadelta, "e_x"), (gx.sgd, "trace"))
    if name != "uint8_sqrt" or field != "trace"
}


@pytest.mark.parametrize("case", STORED)
def test_nor_an_encoded_memory(case: str):
    name, make, field = STORED[case]
    tx = gx.stored_as({field: name}, make(0.1, momentum=0.9) if make is gx.sgd else make(0.1), min_size=0)
    p, update = {"w": jnp.ones((4, 8))}, jax.jit(tx.update)
    for size in (1e6, *SIZES):
        state, huge = tx.init(p), np.ones((4, 8), np.float32)
        huge[1, 2] = size
        for g in (np.ones_like(huge), huge, np.full_like(huge, -1.0), np.full_like(huge, 0.5)):
            u, state = update({"w": g}, state, p)
            for x in jax.tree.leaves((u, state)):
                assert np.isfinite(np.asarray(x, np.float64)).all(), size
        assert (u["w"][0] != 0).all(), size


def test_momentum_in_float16_saturates_and_returns():
    tx = gx.sgd(1.0, 0.5, accumulator_dtype=jnp.float16)
    p, s = {"w": jnp.zeros(1)}, None
    s = tx.init(p)
    for g, expected in ((1e6, 65504.0), (0.0, 32752.0), (0.0, 16376.0)):
        _, s = tx.update({"w": jnp.full(1, g)}, s, p)
        np.testing.assert_array_equal(gx.view(s, "trace")["w"], [expected])


@entries()
def test_parameters_of_any_size(entry: Entry):
    """Where nothing multiplies the gradient by the parameter's size."""
    for size in (1e-45, 1e-40, 1e-20, 1e10, 1e20, 1e30):
        p = jax.tree.map(lambda x, size=size: size * x, tree(0))
        state = entry.tx.init(p)
        start = figures(state)
        for i in range(1, 4):
            u, state = entry.run(tree(i), state, p)
            assert_finite(figures(state), start, f"memory after step {i} from parameters of {size}")
            assert_finite(figures(u), figures(p), f"updates of step {i} from parameters of {size}")
            p = gx.apply_updates(p, jax.tree.map(lambda x, size=size: x if size < 1e15 else 0 * x, u))
