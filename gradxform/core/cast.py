"""How a statistic is kept between steps: what a codec is, and the plain one, a narrower dtype."""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp

from gradxform.core.blocks import Blocks, Encoded
from gradxform.core.facts import Reach
from gradxform.core.sizes import storable
from gradxform.core.types import Array, Count, Dtype

Draw = tuple[Array, Count]
"""Seed and step, to round by chance."""


class Codecs(Protocol):
    """How statistics are kept: a codec for each name; the farthest reach of them, and the fewest axes they take."""

    reach: Reach
    least_ndim: int
    plain: bool
    """Whether what it makes is the number itself, rounded: another codec may take it."""

    def of(self, field: str) -> Codec | None: ...


class Codec(Protocol):
    """How one statistic is kept; see `Cast`."""

    reach: Reach
    least_ndim: int

    def takes(self, x: Encoded) -> bool: ...
    def made(self, x: Encoded) -> bool: ...
    def encode(self, x: Array, bound: Array | None = None, draw: Draw | None = None) -> Encoded: ...
    def narrowed(self, x: Encoded) -> Encoded: ...
    def measured(self, x: Encoded, top: Array | None = None) -> Encoded: ...
    def decode(self, x: Encoded, wide: Dtype) -> Array: ...


class Cast:
    """A codec: keep an array in a narrower dtype."""

    reach = Reach.ELEMENT
    least_ndim = 0
    plain = True

    def __init__(self, dtype: Dtype) -> None:
        self.dtype = jnp.dtype(dtype)
        if not jnp.issubdtype(self.dtype, jnp.inexact):
            raise TypeError(f"statistics are kept in a floating dtype, got {self.dtype}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cast) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash((Cast, self.dtype))

    def __repr__(self) -> str:
        return repr(self.dtype.name)

    def of(self, field: str) -> Codec:
        """The codec for a statistic of this name."""
        return self

    def takes(self, x: Array) -> bool:
        """Whether it is for such an array, encoded already or not."""
        return bool(jnp.issubdtype(x.dtype, jnp.inexact))

    def made(self, x: Array) -> bool:
        """Whether an array of a state is what this codec makes."""
        return not isinstance(x, Blocks) and bool(x.dtype == self.dtype)

    def encode(self, x: Array, bound: Array | None = None, draw: Draw | None = None) -> Array:
        """bound: at least the largest size in each block. draw: seed and step, to round by chance.

        Codes are numbers still: `narrowed` makes of them what is stored.
        """
        if jnp.iscomplexobj(x) and not jnp.issubdtype(self.dtype, jnp.complexfloating):
            raise ValueError(f"a statistic of dtype {x.dtype} would lose its imaginary part in {self.dtype}")
        return storable(x, self.dtype).astype(self.dtype)

    def narrowed(self, x: Array) -> Array:
        return x

    def measured(self, x: Array, top: Array | None = None) -> Array:
        """The largest size of each block as its codes have it, in place of a bound. top: the largest code, if known."""
        return x

    def decode(self, x: Array, wide: Dtype) -> Array:
        return x.astype(jnp.promote_types(self.dtype, wide))
