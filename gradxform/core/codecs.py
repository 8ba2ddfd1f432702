"""Statistics in few bits: codes, and a scale for every row or column."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gradxform.core.blocks import Blocks, axes_within, blocks_of, largest_in
from gradxform.core.cast import Cast, Codec, Draw
from gradxform.core.dither import random_bits, random_units, round_randomly
from gradxform.core.facts import Reach
from gradxform.core.float8 import FLOAT8, float8_of, float32_of, rounded
from gradxform.core.sizes import storable
from gradxform.core.types import Array, Dtype

SQUARES = frozenset({"nu", "nu_max", "sum_of_squares", "e_g", "e_x"})
"""Fields that are never negative and range over the squares of gradients."""


class Narrow(Cast):
    """A floating dtype of 16 bits; with `root` √x in it, for statistics that are squares."""

    least_ndim = 1

    def __init__(self, dtype: Dtype, root: bool = False) -> None:
        super().__init__(dtype)
        self.root = root

    def takes(self, x: Array | Blocks) -> bool:
        return is_real(x)

    def encode(self, x: Array, bound: Array | None = None, draw: Draw | None = None) -> Array:
        if self.root:
            info = jnp.finfo(self.dtype)
            y = jnp.minimum(jnp.sqrt(x), float(info.max))
            return super().encode(self.rounded(jnp.where(x > 0, jnp.maximum(y, float(info.tiny)), y)))
        x = x if draw is None else round_randomly(x.astype(jnp.float32), random_bits(draw[0], draw[1], x.shape))
        return super().encode(self.rounded(storable(x, self.dtype)))

    def decode(self, x: Array, wide: Dtype) -> Array:
        y = super().decode(x, wide)
        return y * y if self.root else y

    def rounded(self, x: Array) -> Array:
        """What the dtype makes of x, in x's own: where x is at hand a compiler drops a cast there and back."""
        info = jnp.finfo(self.dtype)
        y = jax.lax.reduce_precision(x, info.nexp, info.nmant)  # subnormal numbers become 0
        if info.nexp == jnp.finfo(jnp.float32).nexp:
            return y
        least = float(info.smallest_subnormal)
        return jnp.where(jnp.abs(x) < float(info.tiny), jnp.round(x / least) * least, y)


class Scaled:
    """`x ≈ codes · scale`, one scale a block; with `root` the same of √x, for statistics that are squares."""

    reach = Reach.ROW
    least_ndim = 2

    def __init__(self, name: str, dtype: Dtype, top: float, root: bool) -> None:
        self.name, self.dtype, self.top, self.root = name, jnp.dtype(dtype), top, root

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scaled) and self.name == other.name and self.root == other.root

    def __hash__(self) -> int:
        return hash((Scaled, self.name, self.root))

    def __repr__(self) -> str:
        return repr(self.name)

    def takes(self, x: Array | Blocks) -> bool:
        return is_real(x)

    def made(self, x: object) -> bool:
        return isinstance(x, Blocks)

    def encode(self, x: Array, bound: Array | None = None, draw: Draw | None = None) -> Blocks:
        """bound: at least the largest size in each block; without one it is measured. Codes are numbers still."""
        bound = largest_in(x, blocks_of(x.shape)) if bound is None else bound
        scales = (jnp.sqrt(bound) if self.root else bound) * (1 / self.top)
        y = self.rounded((jnp.sqrt(x) if self.root else x) * jnp.where(scales > 0, 1 / scales, 0.0), draw)
        y = jnp.clip(y, 0.0 if self.root else -self.top, self.top)
        if self.root:
            least = float(jnp.finfo(self.dtype).smallest_subnormal) if jnp.issubdtype(self.dtype, jnp.floating) else 1.0
            y = jnp.where(x > 0, jnp.maximum(y, least), y)
        return Blocks(y, *(z.astype(jnp.promote_types(jnp.float32, z.dtype)) for z in (scales, bound)))

    def decode(self, x: Blocks, wide: Dtype) -> Array:
        return self.times_scale(self.widened(x.codes, wide), x)

    def measured(self, x: Blocks, top: Array | None = None) -> Blocks:
        """The largest size of each block as its codes have it, in place of a bound. top: the largest code, if known."""
        if top is None:
            top = self.largest_code(x.codes, axes_within(x.codes.shape, x.scales.shape))
        return x._replace(largest=self.times_scale(top.astype(x.scales.dtype), x))

    def times_scale(self, y: Array, x: Blocks) -> Array:
        y = y * x.scales.astype(y.dtype)
        return y * y if self.root else y

    def rounded(self, y: Array, draw: Draw | None) -> Array:
        return jnp.round(y) if draw is None else jnp.floor(y + random_units(draw[0], draw[1], y.shape, y.dtype))

    def narrowed(self, x: Blocks) -> Blocks:
        return x._replace(codes=x.codes.astype(self.dtype))

    def widened(self, codes: Array, wide: Dtype) -> Array:
        return codes.astype(wide)

    def largest_code(self, codes: Array, axes: tuple[int, ...]) -> Array:
        largest = jnp.max(codes, axes, keepdims=True)
        if self.root:
            return largest
        return jnp.maximum(largest.astype(jnp.int32), -jnp.min(codes, axes, keepdims=True).astype(jnp.int32))


class Float8(Scaled):
    """Codes are numbers of 8 bits."""

    def __init__(self, root: bool) -> None:
        super().__init__("float8_e4m3", FLOAT8, 448, root)

    def rounded(self, y: Array, draw: Draw | None) -> Array:
        return rounded(y.astype(jnp.float32))

    def narrowed(self, x: Blocks) -> Blocks:
        return x._replace(codes=float8_of(x.codes.astype(jnp.float32)))

    def widened(self, codes: Array, wide: Dtype) -> Array:
        return (float32_of(codes) if codes.dtype == self.dtype else codes).astype(wide)

    def largest_code(self, codes: Array, axes: tuple[int, ...]) -> Array:
        sizes = jnp.max(jax.lax.bitcast_convert_type(codes, jnp.uint8) & 0x7F, axes, keepdims=True)
        return self.widened(jax.lax.bitcast_convert_type(sizes, self.dtype), jnp.float32)


LINEAR: dict[str, Codec] = {
    "bfloat16": Narrow("bfloat16"),
    "float16": Narrow("float16"),
    "int8": Scaled("int8", jnp.int8, 127, False),
    "int4": Scaled("int4", jnp.int4, 7, False),
    "float8_e4m3": Float8(root=False),
}
ROOTED: dict[str, Codec] = {
    "bfloat16": Narrow("bfloat16"),
    "float16": Narrow("float16", root=True),
    "uint8_sqrt": Scaled("uint8_sqrt", jnp.uint8, 255, True),
    "float8_e4m3": Float8(root=True),
}
NAMES = (*LINEAR, "uint8_sqrt")
WITH_DRAW = ("bfloat16", "int8", "int4", "uint8_sqrt")
"""Codecs that can round randomly."""


class Named:
    """A codec as users name it; second moments are stored by their roots (bfloat16 needs none), in 8 bits at least.

    square: whether the fields it is for are squares, whatever their names: the user named them.
    """

    def __init__(self, name: str, square: bool = False) -> None:
        self.name, self.square, self.plain = name, square, name == "bfloat16"
        codec = LINEAR.get(name, ROOTED["uint8_sqrt"])
        self.reach, self.least_ndim = codec.reach, codec.least_ndim

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Named) and (self.name, self.square) == (other.name, other.square)

    def __hash__(self) -> int:
        return hash((Named, self.name, self.square))

    def __repr__(self) -> str:
        return repr(self.name)

    def of(self, field: str) -> Codec | None:
        """None for roots of what may be negative."""
        if field in SQUARES or self.square:
            return ROOTED.get(self.name, ROOTED["uint8_sqrt"])
        return LINEAR.get(self.name)


def is_real(x: Array | Blocks) -> bool:
    return isinstance(x, Blocks) or bool(jnp.issubdtype(x.dtype, jnp.floating))
