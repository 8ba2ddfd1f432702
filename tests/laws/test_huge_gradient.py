"""One gradient of any finite size spoils nothing: memory and updates stay finite, and elements move again."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.testing.laws import figures, spoilt, with_size
from tests.catalogue import Entry, entries, tree

SIZES = {"1e15": 1e15, "3e19": 3e19, "1e30": 1e30, "largest": float(jnp.finfo(jnp.float32).max)}
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
        if max(float(jnp.abs(x).max()) for x in jax.tree.leaves(u)) < 1e3:
            p = gx.apply_updates(p, u)
    return u


@pytest.mark.parametrize("everywhere", [False, True], ids=["one", "all"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@entries()
def test_one_huge_gradient_spoils_nothing(entry: Entry, size: float, everywhere: bool):
    normal = [tree(i) for i in range(1, 7)]
    usual = run(entry, normal, tree(0))
    for at in (0, 1):
        u = run(entry, [*normal[:at], with_size(normal[at], size, everywhere), *normal[at + 1 :]], tree(0))
        if entry.name not in SLOW and entry.function not in SLOW and not entry.lands:
            for a, b in zip(jax.tree.leaves(u), jax.tree.leaves(usual), strict=True):
                np.testing.assert_array_equal(np.asarray(a) != 0, np.asarray(b) != 0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bfloat16", "float16"])
@entries(lambda e: e.axis is None)
def test_the_largest_of_a_narrow_dtype_spoils_nothing(entry: Entry, dtype: Any):
    normal = [tree(i, dtype) for i in range(1, 5)]
    huge = with_size(normal[1], float(jnp.finfo(dtype).max), everywhere=False)
    run(entry, [normal[0], huge, *normal[2:]], tree(0))


STORED = {
    f"{name} {field}": (name, make, field)
    for name in ("bfloat16", "float16", "int8", "int4", "uint8_sqrt", "float8_e4m3")
    for make, field in ((gx.adam, "nu"), (gx.adagrad, "sum_of_squares"), (gx.adadelta, "e_x"), (gx.sgd, "trace"))
    if name != "uint8_sqrt" or field != "trace"
}


@pytest.mark.parametrize("size", [1e6, *SIZES.values()], ids=["1e6", *SIZES])
@pytest.mark.parametrize("case", STORED)
def test_nor_an_encoded_memory(case: str, size: float):
    name, make, field = STORED[case]
    tx = gx.stored_as({field: name}, make(0.1, momentum=0.9) if make is gx.sgd else make(0.1), min_size=0)
    p, update = {"w": jnp.ones((4, 8))}, jax.jit(tx.update)
    state = tx.init(p)
    for g in (1.0, jnp.ones((4, 8)).at[1, 2].set(size), -1.0, 0.5):
        u, state = update({"w": g * jnp.ones((4, 8))}, state, p)
        for x in jax.tree.leaves((u, state)):
            assert np.isfinite(np.asarray(x, np.float64)).all()
    assert (u["w"][0] != 0).all()


def test_momentum_in_float16_saturates_and_returns():
    tx = gx.sgd(1.0, 0.5, accumulator_dtype=jnp.float16)
    p, s = {"w": jnp.zeros(1)}, None
    s = tx.init(p)
    for g, expected in ((1e6, 65504.0), (0.0, 32752.0), (0.0, 16376.0)):
        _, s = tx.update({"w": jnp.full(1, g)}, s, p)
        np.testing.assert_array_equal(gx.view(s, "trace")["w"], [expected])


@pytest.mark.parametrize("size", [1e-45, 1e-40, 1e-20, 1e10, 1e20, 1e30], ids=str)
@entries()
def test_parameters_of_any_size(entry: Entry, size: float):
    """Where nothing multiplies the gradient by the parameter's size."""
    p = jax.tree.map(lambda x: size * x, tree(0))
    state = entry.tx.init(p)
    start = figures(state)
    for i in range(1, 4):
        u, state = entry.run(tree(i), state, p)
        assert_finite(figures(state), start, f"memory after step {i}")
        assert_finite(figures(u), figures(p), f"updates of step {i}")
        p = gx.apply_updates(p, jax.tree.map(lambda x: x if size < 1e15 else 0 * x, u))
