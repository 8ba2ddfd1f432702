"""One statistic in the form of another: kept as it is, or decoded and encoded anew."""

from __future__ import annotations

import collections
import itertools
from typing import Any

import jax
import jax.numpy as jnp

from gradxform.core.admit import COUNTERS
from gradxform.core.arithmetic import compute_dtype
from gradxform.core.blocks import Blocks, Encoded, Seeded, largest_in, unseeded
from gradxform.core.cast import Codec
from gradxform.core.codecs import LINEAR, ROOTED, SQUARES
from gradxform.core.stacks import Parts
from gradxform.core.types import Array, Memory, Shaped, Structure, Tree

CODES = {"int8": "int8", "int4": "int4", "uint8": "uint8_sqrt", "float8_e4m3fn": "float8_e4m3"}
"""The codec by the dtype of its codes, beside those that are called as their dtypes."""
HALVES = ("bfloat16", "float16")


def fields_of(memory: Memory) -> dict[str, Encoded]:
    """Each statistic by its name, also of a memory inside a memory; an encoded one is one.

    A name that two memories have, and each name of a part, stands as `part/name`.
    """
    found: dict[str, Encoded] = {}
    for keys, x in zip(_keys(memory), memory, strict=True):
        found |= zip(keys.values(), fields_of(x).values() if _is_memory(x) else [x], strict=True)
    return found


def with_fields_of(memory: Memory, new: dict[str, Encoded]) -> Memory:
    """The same memory with other statistics under their names."""

    def filled(keys: dict[str, str], x: Any) -> Any:
        inner = {name: new[key] for name, key in keys.items()}
        return with_fields_of(x, inner) if _is_memory(x) else next(iter(inner.values()))

    return type(memory)(*map(filled, _keys(memory), memory))


def _keys(memory: Memory) -> list[dict[str, str]]:
    """Of each field: the names inside it, or its own, and what they are called here."""
    names = [[*fields_of(x)] if _is_memory(x) else [f] for f, x in zip(memory._fields, memory, strict=True)]
    often = collections.Counter(itertools.chain(*names))

    def key(field: str, name: str, x: Any) -> str:
        apart = isinstance(memory, Parts) or (often[name] > 1 and _is_memory(x))
        return f"{field}/{name}" if apart else name

    each = zip(memory._fields, names, memory, strict=True)
    return [{name: key(field, name, x) for name in inside} for field, inside, x in each]


def _is_memory(x: object) -> bool:
    return isinstance(x, tuple) and hasattr(x, "_fields") and not isinstance(x, Blocks | Seeded)


def as_it_is(have: Tree, want: Tree) -> Tree | None:
    """`have` where it has the form of `want`, as arrays lying where those of `want` do; None where it has not.

    Counters of 64 bits are cast.
    """
    structure: Structure = jax.tree.structure(want)
    if structure != jax.tree.structure(have):
        return None
    new = [_placed(x, w) for x, w in zip(jax.tree.leaves(have), jax.tree.leaves(want), strict=True)]
    return None if any(x is None for x in new) else structure.unflatten(new)


def _placed(x: Any, want: Shaped) -> Any:
    if not isinstance(x, jax.ShapeDtypeStruct):
        x = jnp.asarray(x)
    if x.shape != want.shape or (x.dtype != want.dtype and COUNTERS.get(x.dtype.name) != want.dtype.name):
        return None
    if isinstance(x, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(x.shape, want.dtype, sharding=x.sharding)
    x = jax.lax.convert_element_type(x, want.dtype)
    if not isinstance(want, jax.Array) or any(isinstance(y, jax.core.Tracer) for y in (x, want)):
        return x
    kind = want.sharding.memory_kind
    there = want.sharding if want.committed else x.sharding.with_memory_kind(kind)
    return jax.device_put(x, there) if want.committed or x.sharding.memory_kind != kind else x


def reformed(have: Encoded, want: Encoded, field: str) -> Encoded | None:
    """A statistic in the form of `want`, from another form; None where it is another statistic."""
    x, like, field = unseeded(have), unseeded(want), field.rsplit("/", 1)[-1]
    if _shape(x) != _shape(like) or not (_is_number(x, field) and _is_number(like, field)):
        return None
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves((have, want))):
        return want
    wide = _decoded(jax.device_put(x, jax.memory.Space.Device), field)
    plain = _codec(like, field) is None
    if jnp.iscomplexobj(wide) != (plain and jnp.issubdtype(like.dtype, jnp.complexfloating)):
        return None
    new = _encoded(wide, like, field)
    if isinstance(want, Seeded):
        new = Seeded(new, have.seed if isinstance(have, Seeded) else want.seed)
    return as_it_is(new, want)


def _shape(x: Encoded) -> tuple[int, ...]:
    shape: tuple[int, ...] = (x.codes if isinstance(x, Blocks) else x).shape
    return shape


def _is_number(x: Encoded, field: str) -> bool:
    """Whether it stands for floating numbers."""
    return _codec(x, field) is not None or bool(jnp.issubdtype(x.dtype, jnp.inexact))


def _codec(x: Encoded, field: str) -> Codec | None:
    """The codec that made a statistic, by what it made; None for numbers as they are."""
    if isinstance(x, Blocks):
        name = CODES[x.codes.dtype.name]
        return (ROOTED if field in SQUARES or name not in LINEAR else LINEAR)[name]
    return (ROOTED if field in SQUARES else LINEAR).get(x.dtype.name) if x.dtype.name in HALVES else None


def _decoded(x: Encoded, field: str) -> Array:
    codec = _codec(x, field)
    if isinstance(x, Blocks) and x.largest is None:
        n, count = x.codes.shape[-1], x.scales.shape[-1]
        x = x._replace(scales=jnp.repeat(x.scales, -(-n // count), -1)[..., :n])
    return x.astype(compute_dtype(x.dtype)) if codec is None else codec.decode(x, jnp.float32)


def _encoded(wide: Array, like: Encoded, field: str) -> Encoded:
    codec = _codec(like, field)
    if codec is None:
        return wide.astype(like.dtype)
    bound = largest_in(wide, like.scales.shape) if isinstance(like, Blocks) else None
    return codec.narrowed(codec.encode(wide, bound))
