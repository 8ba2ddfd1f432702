"""A whole training step of a small GPT, and what of it is the optimizer's: the step without loss and gradient.

The model computes in bfloat16, on 8 x 1024 tokens: 2 blocks of width 1024, 16 heads, 32768 words; 60 M parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

import gradxform as gx
from benchmarks.compiled import measure
from benchmarks.compiled.compositions import clipped, codes

LAYERS, WIDTH, HEADS, VOCABULARY, BATCH, LENGTH = 2, 1024, 16, 32768, 8, 1024

STEPS: dict[str, tuple[str, Callable[[], Any], int]] = {
    "float32, clip + adamw": ("float32", lambda: clipped(gx), 1),
    "bfloat16, clip + adamw, split16": ("bfloat16", lambda: gx.chain(clipped(gx), gx.round_updates("split16")), 1),
    "float32, clip + stored int8": ("float32", lambda: gx.chain(gx.clip_by_global_norm(1.0), codes()), 1),
    "float32, accumulate(clip + adamw, 4)": ("float32", lambda: gx.accumulate(clipped(gx), 4), 4),
}
"""Name -> dtype of the parameters, transformation, and how often its dearer branch is taken: once in so many."""


def shapes() -> dict[str, tuple[int, ...]]:
    tree = {"embed": (VOCABULARY, WIDTH), "position": (LENGTH, WIDTH), "norm": (WIDTH,)}
    for i in range(LAYERS):
        block = {"norm1": (WIDTH,), "qkv": (WIDTH, 3 * WIDTH), "out": (WIDTH, WIDTH)}
        block |= {"norm2": (WIDTH,), "fc": (WIDTH, 4 * WIDTH), "proj": (4 * WIDTH, WIDTH)}
        tree |= {f"h{i}/{name}": shape for name, shape in block.items()}
    return tree


def normed(x: Any, scale: Any) -> Any:
    return (
        x * jax.lax.rsqrt(jnp.mean(jnp.square(x.astype(jnp.float32)), -1, keepdims=True) + 1e-5).astype(x.dtype) * scale
    )


def loss(params: Any, tokens: Any) -> Any:
    """Of predicting each token from those before it."""
    p = {key: x.astype(jnp.bfloat16) for key, x in params.items()}
    x = p["embed"][tokens] + p["position"]
    for i in range(LAYERS):
        h = {key.removeprefix(f"h{i}/"): y for key, y in p.items() if key.startswith(f"h{i}/")}
        q, k, v = jnp.split(normed(x, h["norm1"]) @ h["qkv"], 3, -1)
        q, k, v = (y.reshape(BATCH, LENGTH, HEADS, WIDTH // HEADS) for y in (q, k, v))
        x += jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape) @ h["out"]
        x += jax.nn.gelu(normed(x, h["norm2"]) @ h["fc"]) @ h["proj"]
    logits = (normed(x, p["norm"]) @ p["embed"].T)[:, :-1].astype(jnp.float32)
    picked = jnp.take_along_axis(logits, tokens[:, 1:, None], -1)[..., 0]
    return jnp.mean(jax.nn.logsumexp(logits, -1) - picked)


def measured(target: str, only: str = "") -> Iterator[dict[str, Any]]:
    """Figures of each step, and of loss and gradient alone, whose gradients count as temporaries here too."""
    at = measure.alone(target)(())
    tokens = jax.ShapeDtypeStruct((BATCH, LENGTH), jnp.int32, sharding=at)
    alone: dict[str, Any] = {}
    for name, (dtype, make, every) in STEPS.items():
        if only not in name:
            continue
        params = {key: jax.ShapeDtypeStruct(shape, dtype, sharding=at) for key, shape in shapes().items()}
        count = sum(p.size for p in params.values())
        if dtype not in alone:
            compiled, _, _ = measure.timed(jax.jit(jax.value_and_grad(loss)), (params, tokens), target)
            alone[dtype] = measure.read(compiled, count)
            alone[dtype]["temp"] += 100 * params["embed"].dtype.itemsize / 4
        tx = make()

        def step(params: Any, state: Any, tokens: Any, tx: Any = tx) -> Any:
            value, grads = jax.value_and_grad(loss)(params, tokens)
            return *gx.make_step(tx)(params, state, grads), value

        state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), tx.init(params))
        jitted = jax.jit(step, donate_argnums=(0, 1))
        compiled, trace, compilation = measure.timed(jitted, (params, state, tokens), target)
        seconds = {"trace_s": trace, "compile_s": compilation}
        yield {"row": name, **measure.read(compiled, count, every), **seconds, "alone": alone[dtype]}
