"""Statistics in few bits: codes, and a scale for every block of the last axis."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core.codec import Cast
from gradxform.core.dither import random_bits, random_units, round_randomly

BLOCK = 128
SQUARES = frozenset({"nu", "nu_max", "sum_of_squares", "e_g", "e_x"})
"""Fields that are never negative and range over the squares of gradients."""


class Blocks(NamedTuple):
    """An encoded statistic: `codes` shaped like it, `scales` with the last axis in blocks."""

    codes: Any
    scales: Any


class Seeded(NamedTuple):
    """An encoded statistic, and the seed that its rounding draws from."""

    stored: Any
    seed: Any


class Narrow(Cast):
    """A floating dtype of 16 bits; with `root` √x in it, for statistics that are squares."""

    least_ndim = 1

    def __init__(self, dtype: Any, root: bool = False) -> None:
        super().__init__(dtype)
        self.root = root

    def encode(self, x: Any, bound: Any = None, draw: Any = None) -> Any:
        if self.root:
            info = jnp.finfo(self.dtype)
            y = jnp.minimum(jnp.sqrt(x), float(info.max))
            return super().encode(jnp.where(x > 0, jnp.maximum(y, float(info.tiny)), y))
        x = x if draw is None else round_randomly(x.astype(jnp.float32), random_bits(draw[0], draw[1], x.shape))
        return super().encode(x)

    def decode(self, x: Any, wide: Any) -> Any:
        y = super().decode(x, wide)
        return y * y if self.root else y

    def shape(self, x: Any) -> tuple[int, ...]:
        return tuple(x.shape)

    def largest_in_blocks(self, x: Any, wide: Any) -> Any:
        return block_max(self.decode(x, wide))


class Scaled:
    """`x ≈ codes · scale`, one scale a block; with `root` the same of √x, for statistics that are squares."""

    least_ndim = 2

    def __init__(self, name: str, dtype: Any, top: float, root: bool) -> None:
        self.name, self.dtype, self.top, self.root = name, jnp.dtype(dtype), top, root

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scaled) and self.name == other.name and self.root == other.root

    def __hash__(self) -> int:
        return hash((Scaled, self.name, self.root))

    def __repr__(self) -> str:
        return repr(self.name)

    def encode(self, x: Any, bound: Any = None, draw: Any = None) -> Blocks:
        """bound: at least the largest size in each block; without one it is measured."""
        bound = block_max(x) if bound is None else bound
        scales = (jnp.sqrt(bound) if self.root else bound) * (1 / self.top)
        inverse = jnp.where(scales > 0, 1 / scales, 0.0)
        y = (jnp.sqrt(x) if self.root else x) * spread(inverse, x.shape)
        if jnp.issubdtype(self.dtype, jnp.integer):
            y = jnp.round(y) if draw is None else jnp.floor(y + random_units(draw[0], draw[1], y.shape, y.dtype))
        y = jnp.clip(y, 0.0 if self.root else -self.top, self.top)
        if self.root:
            least = float(jnp.finfo(self.dtype).smallest_subnormal) if jnp.issubdtype(self.dtype, jnp.floating) else 1.0
            y = jnp.where(x > 0, jnp.maximum(y, least), y)
        return Blocks(self.narrowed(y), scales.astype(jnp.promote_types(jnp.float32, scales.dtype)))

    def decode(self, x: Blocks, wide: Any) -> Any:
        y = self.widened(x.codes, wide) * spread(x.scales.astype(wide), x.codes.shape)
        return y * y if self.root else y

    def shape(self, x: Blocks) -> tuple[int, ...]:
        return tuple(x.codes.shape)

    def largest_in_blocks(self, x: Blocks, wide: Any) -> Any:
        """The largest size in each block, from the codes."""
        y = self.largest_code(in_blocks(x.codes), wide) * x.scales.astype(wide)
        return y * y if self.root else y

    def narrowed(self, y: Any) -> Any:
        return y.astype(self.dtype)

    def widened(self, codes: Any, wide: Any) -> Any:
        return codes.astype(wide)

    def largest_code(self, codes: Any, wide: Any) -> Any:
        """The largest size along the last axis."""
        largest = jnp.max(codes, -1).astype(wide)
        return largest if self.root else jnp.maximum(largest, -jnp.min(codes, -1).astype(wide))


class Float8(Scaled):
    """Codes are numbers of 8 bits, made and read bit by bit: CPUs have none, and their compiler converts slowly."""

    def __init__(self, root: bool) -> None:
        super().__init__("float8_e4m3", jnp.float8_e4m3fn, 448, root)

    def narrowed(self, y: Any) -> Any:
        bits = jax.lax.bitcast_convert_type(y.astype(jnp.float32), jnp.int32)
        size = bits & 0x7FFFFFFF
        nearest = size + 0x7FFFF + (size >> 20 & 1)  # of 23 digits 3 stay: to nearest, ties to even
        steps = jnp.round(jnp.abs(y) * 2.0**9).astype(jnp.int32)
        code = jnp.where(jnp.abs(y) < 2.0**-6, steps, (nearest >> 20) - (120 << 3))
        code = jnp.where(jnp.isnan(y), 0x7F, code) | (bits >> 24 & 0x80)
        return jax.lax.bitcast_convert_type(code.astype(jnp.uint8), self.dtype)

    def widened(self, codes: Any, wide: Any) -> Any:
        code = jax.lax.bitcast_convert_type(codes, jnp.uint8).astype(jnp.int32)
        size = code & 0x7F
        y = jax.lax.bitcast_convert_type((size + (120 << 3)) << 20, jnp.float32)
        y = jnp.where(size < 8, size.astype(jnp.float32) * 2.0**-9, jnp.where(size == 0x7F, jnp.nan, y))
        return jnp.where(code < 0x80, y, -y).astype(wide)

    def largest_code(self, codes: Any, wide: Any) -> Any:
        sizes = jnp.max(jax.lax.bitcast_convert_type(codes, jnp.uint8) & 0x7F, -1)
        return self.widened(jax.lax.bitcast_convert_type(sizes, self.dtype), wide)


def blocks_of(n: int) -> int:
    """How many blocks an axis of n elements has: of at most 128, in eighths of the axis where it divides.

    It depends on n alone, so a state fits whatever the number of devices, and on up to 8 no block straddles two.
    """
    eighths = n // 8 if n % 8 == 0 else 0
    parts = -(-eighths // BLOCK)
    for k in range(parts, 2 * parts + 1):
        if k and n >= 4 * BLOCK and eighths % k == 0:
            return 8 * k
    return -(-n // BLOCK)


def in_blocks(x: Any) -> Any:
    """The last axis as blocks, zeros behind the last."""
    n = x.shape[-1]
    count = blocks_of(n)
    size = -(-n // count)
    if count * size > n:
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, count * size - n)])
    return x.reshape(*x.shape[:-1], count, size)


def block_max(x: Any) -> Any:
    """The largest size in each block, in two reductions: |x| between would be written to memory on CPU."""
    x = in_blocks(jnp.abs(x) if jnp.iscomplexobj(x) else x)
    return jnp.maximum(jnp.max(x, -1), -jnp.min(x, -1))


def spread(scales: Any, shape: tuple[int, ...]) -> Any:
    """Each scale over its block."""
    size = math.ceil(shape[-1] / scales.shape[-1])
    wide = jnp.broadcast_to(scales[..., None], (*scales.shape, size))
    return wide.reshape(*scales.shape[:-1], scales.shape[-1] * size)[..., : shape[-1]]


LINEAR = {
    "bfloat16": Narrow("bfloat16"),
    "float16": Narrow("float16"),
    "int8": Scaled("int8", jnp.int8, 127, False),
    "int4": Scaled("int4", jnp.int4, 7, False),
    "float8_e4m3": Float8(root=False),
}
ROOTED = {
    "bfloat16": Narrow("bfloat16"),
    "float16": Narrow("float16", root=True),
    "uint8_sqrt": Scaled("uint8_sqrt", jnp.uint8, 255, True),
    "float8_e4m3": Float8(root=True),
}
NAMES = (*LINEAR, "uint8_sqrt")
NARROW = ("bfloat16", "float16")
"""Codecs that look at one element alone."""
WITH_DRAW = ("bfloat16", "int8", "int4", "uint8_sqrt")
"""Codecs that can round randomly."""


def codec_for(name: str, field: str) -> Any:
    """The codec of a field; second moments are stored by their roots (bfloat16 needs none), in 8 bits at least."""
    if field in SQUARES or name == "uint8_sqrt":
        return ROOTED.get(name, ROOTED["uint8_sqrt"])
    return LINEAR[name]
