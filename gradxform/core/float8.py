"""Numbers of 8 bits made and read: bit by bit on CPUs, which have none and convert slowly, and by a cast elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

from gradxform.core.platforms import on_cpus
from gradxform.core.types import Array, Dtype

FLOAT8 = jnp.dtype(jnp.float8_e4m3fn)
Cast: TypeAlias = Callable[[Array], Array]


def _made(y: Array) -> Array:
    bits, size = jax.lax.bitcast_convert_type(y, jnp.int32), jnp.abs(y)
    exponent = jax.lax.bitcast_convert_type(jnp.maximum(size, 2.0**-6), jnp.int32) & 0x7F800000
    large = exponent + (20 << 23)  # of a number so much larger the last digit is the last one here
    added = size + jax.lax.bitcast_convert_type(large, jnp.float32)
    code = jax.lax.bitcast_convert_type(added, jnp.int32) - large + (exponent >> 20) - (121 << 3)
    code = jnp.where(jnp.isnan(y), 0x7F, code) | (bits >> 24 & 0x80)
    return jax.lax.bitcast_convert_type(code.astype(jnp.uint8), FLOAT8)


def _read(codes: Array) -> Array:
    code = jax.lax.bitcast_convert_type(codes, jnp.int8)
    y = jax.lax.bitcast_convert_type((code.astype(jnp.int16) << 7) & -0x4080, jnp.float16).astype(jnp.float32)
    return jnp.where((code & 0x7F) == 0x7F, jnp.nan, y * 256)


def _nearest(y: Array) -> Array:
    return jnp.where(jnp.abs(y) < 2.0**-6, jnp.round(y * 2.0**9) * 2.0**-9, jax.lax.reduce_precision(y, 8, 3))


def _chosen(name: str, dtype: Dtype, cpu: Cast, default: Cast) -> Cast:
    chosen = on_cpus(name, lambda x: (cpu(x),), lambda x: (default(x),), dtype)
    return lambda x: chosen.bind(jax.lax.stop_gradient(x))[0]


rounded = _chosen("float8_rounded", jnp.float32, lambda y: y, _nearest)
"""float32 numbers as float8 has them, where that is not left to `float8_of`, which rounds to nearest as well."""

float8_of = _chosen("float8_of", FLOAT8, _made, lambda y: y.astype(FLOAT8))
float32_of = _chosen("float8_read", jnp.float32, _read, lambda codes: codes.astype(jnp.float32))
