"""A statistic in another form: the same numbers, to the rounding of the coarser form."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.core.blocks import Blocks, Seeded
from gradxform.core.cast import Cast
from gradxform.core.codecs import LINEAR, ROOTED
from gradxform.core.reform import as_it_is, fields_of, reformed, with_fields_of

X = np.random.default_rng(0).standard_normal((3, 200)).astype(np.float32)
ERRORS = {"float32": 0.0, "bfloat16": 2**-8, "float16": 2**-10, "int8": 1 / 127, "int4": 1 / 7, "float8_e4m3": 2**-3}
ERRORS["uint8_sqrt"] = 1 / 100


class Moments(NamedTuple):
    mu: Any
    nu: Any


class Dated(NamedTuple):
    memory: Any
    last: Any


def made(name: str, field: str) -> Any:
    x = jnp.asarray(X if field == "mu" else X**2)
    codec: Any = (LINEAR if field == "mu" else ROOTED).get(name)
    return x if codec is None else codec.narrowed(codec.encode(x))


CASES = [
    *[("mu", a, b) for a in ("float32", *LINEAR) for b in ("float32", *LINEAR) if a != b],
    *[("nu", a, b) for a in ("float32", *ROOTED) for b in ("float32", *ROOTED) if a != b],
]


@pytest.mark.parametrize(("field", "there", "here"), CASES)
def test_every_codec_is_read_and_written(field: str, there: str, here: str) -> None:
    have, want = made(there, field), jax.tree.map(jnp.zeros_like, made(here, field))
    new = reformed(have, want, field)
    assert jax.tree.structure(new) == jax.tree.structure(want)
    read = new if here == "float32" else (LINEAR if field == "mu" else ROOTED)[here].decode(new, jnp.float32)
    right = X.astype(np.float64) if field == "mu" else X.astype(np.float64) ** 2
    np.testing.assert_allclose(read, right, rtol=0, atol=2 * (ERRORS[there] + ERRORS[here]) * right.max())


def test_a_cast_is_read_exactly() -> None:
    have = Cast(jnp.bfloat16).encode(jnp.asarray(X))
    new = reformed(have, jnp.zeros(X.shape), "mu")
    np.testing.assert_array_equal(new, np.asarray(have).astype(np.float32))


def test_the_seed_of_a_rounding_stays() -> None:
    want = Seeded(jnp.zeros(X.shape, jnp.bfloat16), jnp.uint32(7))
    assert reformed(jnp.asarray(X), want, "mu").seed == 7
    other = Seeded(made("int8", "mu"), jnp.uint32(5))
    assert reformed(other, want, "mu").seed == 5


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (jnp.ones(3), jnp.ones(4)),
        (jnp.ones(3, jnp.int32), jnp.ones(3)),
        (jnp.ones(3), jnp.ones(3, jnp.int32)),
        (jnp.ones(3, jnp.complex64), jnp.ones(3)),
        (jnp.ones(3), jnp.ones(3, jnp.complex64)),
        (Blocks(jnp.ones((2, 3), jnp.int8), jnp.ones((2, 1))), jnp.ones((3, 2))),
    ],
)
def test_another_statistic_is_none(have: Any, want: Any) -> None:
    assert as_it_is(have, want) is None
    assert reformed(have, want, "mu") is None


def test_what_has_the_form_is_itself_and_a_wide_counter_is_cast() -> None:
    x = jnp.ones(3)
    assert as_it_is(x, jnp.zeros(3)) is x
    counter = as_it_is(np.int64(3), jnp.zeros((), jnp.int32))
    assert (counter.dtype, int(counter)) == (jnp.int32, 3)
    struct = jax.ShapeDtypeStruct((3,), jnp.float32)
    assert as_it_is(struct, jnp.zeros(3)) == struct


def test_fields_of_a_memory_inside_a_memory_stand_beside_its_own() -> None:
    memory = Dated(Moments(1, Blocks(2, 3)), 4)
    assert fields_of(memory) == {"mu": 1, "nu": Blocks(2, 3), "last": 4}
    assert with_fields_of(memory, {"mu": 5, "nu": 6, "last": 7}) == Dated(Moments(5, 6), 7)


def test_names_that_two_memories_have_stand_under_that_of_their_memory() -> None:
    memory = Dated(Moments(Moments(1, 2), Dated(Moments(3, 4), 5)), Moments(6, 7))
    fields = fields_of(memory)
    assert fields == {"mu/mu": 1, "mu/nu": 2, "nu/mu": 3, "nu/nu": 4, "last": 5, "mu": 6, "nu": 7}
    assert with_fields_of(memory, {name: 10 * x for name, x in fields.items()}) == Dated(
        Moments(Moments(10, 20), Dated(Moments(30, 40), 50)), Moments(60, 70)
    )
    assert [*fields_of(Dated(Moments(1, 2), Dated(3, 4)))] == ["mu", "nu", "memory", "last"]
