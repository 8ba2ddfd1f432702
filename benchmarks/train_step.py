"""A step of `make_train_step` beside the same step written by hand, on a small GPT.

`python -m benchmarks.train_step` prints the time of the quick start's step, and of the loop it stands for with an
un-jitted gradient, over that of `jax.jit(value_and_grad, update, apply)` with donation. The ways are measured in turn,
and ratios are taken between neighbours, so that a slow moment of the machine meets all of them.
"""

from __future__ import annotations

import random
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

import gradxform as gx

WIDTH, HEADS, LAYERS, WORDS, LENGTH, BATCH = 64, 4, 4, 256, 64, 8
ROUNDS = 150


def gpt(key: jax.Array) -> Any:
    def normal(*shape: int) -> jax.Array:
        nonlocal key
        key, mine = jax.random.split(key)
        return 0.02 * jax.random.normal(mine, shape)

    def layer() -> Any:
        shapes = {
            "qkv": (WIDTH, 3 * WIDTH),
            "out": (WIDTH, WIDTH),
            "up": (WIDTH, 4 * WIDTH),
            "down": (4 * WIDTH, WIDTH),
        }
        return {k: normal(*s) for k, s in shapes.items()} | {k: jnp.ones(WIDTH) for k in ("norm_1", "norm_2")}

    return {"words": normal(WORDS, WIDTH), "places": normal(LENGTH, WIDTH), "layers": [layer() for _ in range(LAYERS)]}


def loss(params: Any, tokens: jax.Array) -> jax.Array:
    """The mean cross entropy of each next token."""

    def norm(x: jax.Array, scale: jax.Array) -> jax.Array:
        return scale * x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6)

    x = params["words"][tokens[:, :-1]] + params["places"]
    for p in params["layers"]:
        q, k, v = jnp.split((norm(x, p["norm_1"]) @ p["qkv"]).reshape(*x.shape[:2], HEADS, -1), 3, axis=-1)
        x += jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape) @ p["out"]
        x += jax.nn.gelu(norm(x, p["norm_2"]) @ p["up"]) @ p["down"]
    scores = jax.nn.log_softmax(x @ params["words"].T)
    return -jnp.take_along_axis(scores, tokens[:, 1:, None], axis=-1).mean()


def ways(tx: gx.GradientTransformation) -> dict[str, Any]:
    """Each a function `params, state, tokens -> params, state`."""

    def by_hand(params: Any, state: Any, tokens: jax.Array) -> Any:
        value, grads = jax.value_and_grad(loss)(params, tokens)
        updates, state = tx.update(grads, state, params)
        return gx.apply_updates(params, updates), state, {"loss": value}

    step = gx.make_step(tx)
    return {
        "by hand": jax.jit(by_hand, donate_argnums=(0, 1)),
        "make_train_step": gx.make_train_step(loss, tx, metrics=("loss",)),
        "jax.grad, make_step": lambda params, state, x: step(params, state, jax.grad(loss)(params, x)),
    }


def main() -> None:
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(3e-4, mask=gx.weights_only))
    tokens = jax.random.randint(jax.random.key(1), (BATCH, LENGTH + 1), 0, WORDS)
    steps = ways(tx)
    states = {name: (params := gpt(jax.random.key(0)), tx.init(params)) for name in steps}
    times: dict[str, list[float]] = {name: [] for name in steps}
    order, rng = [*steps], random.Random(0)
    for turn in range(ROUNDS + 1):
        rng.shuffle(order)
        for name in order:
            step, start = steps[name], time.perf_counter()
            states[name] = jax.block_until_ready(step(*states[name], tokens))[:2]
            if turn:
                times[name].append(time.perf_counter() - start)
    count = sum(x.size for x in jax.tree.leaves(states["by hand"][0]))
    print(f"{count / 1e6:.2f} million parameters, {jax.devices()[0].device_kind}")
    for name in ("by hand", "make_train_step"):
        cost = steps[name].lower(*states[name], tokens).compile().cost_analysis()
        print(f"{name:20} {cost['flops'] / 1e6:8.2f} MFLOP {cost['bytes accessed'] / 1e6:8.2f} MB")
    for name, found in times.items():
        ratios = [a / b for a, b in zip(found, times["by hand"], strict=True)]
        print(f"{name:20} {1e3 * statistics.median(found):8.2f} ms {statistics.median(ratios):6.2f} x")


if __name__ == "__main__":
    main()
