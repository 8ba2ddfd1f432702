"""What low precision costs in training: a character-level transformer of 1 M parameters on Python's own help texts.

`python -m benchmarks.quality` trains every row over three seeds and writes a Markdown table of final validation
losses beside float32 AdamW's. Runs that are in the file of results already are not repeated.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradxform as gx

OUTPUT = Path(__file__).parent / "output"
WIDTH, LAYERS, HEADS, CONTEXT, BATCH = 128, 5, 4, 64, 16
VALIDATION_BATCHES, CHUNK = 64, 50


def text() -> tuple[np.ndarray, np.ndarray, int]:
    """Training and validation text as numbers, and how many characters there are; every tenth piece is held out."""
    whole = "\n".join(topics[name] for name in sorted(topics))
    letters = {c: i for i, c in enumerate(sorted(set(whole)))}
    codes = np.array([letters[c] for c in whole], np.int32)
    pieces = np.array_split(codes, 50)
    held = np.concatenate(pieces[9::10])
    return np.concatenate([x for i, x in enumerate(pieces) if i % 10 != 9]), held, len(letters)


def initial(seed: int, letters: int, dtype: Any, d: int = WIDTH, layers: int = LAYERS) -> Any:
    rng = np.random.default_rng(seed)

    def normal(*shape: int, scale: float) -> Any:
        return jnp.asarray(scale * rng.standard_normal(shape), dtype)

    inner, deep = 4 * d, 1 / math.sqrt(2 * layers)
    blocks = [
        {
            "norm1": jnp.ones(d, dtype),
            "qkv": normal(d, 3 * d, scale=d**-0.5),
            "out": normal(d, d, scale=deep * d**-0.5),
            "norm2": jnp.ones(d, dtype),
            "up": normal(d, inner, scale=d**-0.5),
            "down": normal(inner, d, scale=deep * inner**-0.5),
        }
        for _ in range(layers)
    ]
    embedding = {"letters": normal(letters, d, scale=0.02), "places": normal(CONTEXT, d, scale=0.02)}
    return {**embedding, "blocks": blocks, "norm": jnp.ones(d, dtype), "head": normal(d, letters, scale=d**-0.5)}


def normed(x: Any, scale: Any) -> Any:
    return scale * x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)


def logits(params: Any, x: Any) -> Any:
    p = jax.tree.map(lambda w: w.astype(jnp.float32), params)
    h = p["letters"][x] + p["places"]
    for block in p["blocks"]:
        q, k, v = (
            y.reshape(*x.shape, HEADS, -1) for y in jnp.split(normed(h, block["norm1"]) @ block["qkv"], 3, axis=-1)
        )
        h += jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(h.shape) @ block["out"]
        h += jax.nn.gelu(normed(h, block["norm2"]) @ block["up"]) @ block["down"]
    return normed(h, p["norm"]) @ p["head"]


def loss(params: Any, batch: Any) -> Any:
    chances = jax.nn.log_softmax(logits(params, batch[:, :-1]))
    return -jnp.mean(jnp.take_along_axis(chances, batch[:, 1:, None], -1))


def windows(codes: np.ndarray, count: int, rng: Any, batch: int = BATCH) -> np.ndarray:
    starts = rng.integers(0, len(codes) - CONTEXT - 1, (count, batch))
    return codes[starts[..., None] + np.arange(CONTEXT + 1)]


def rows(steps: int) -> dict[str, tuple[Any, Any]]:
    """Name -> transformation and dtype of the parameters."""
    rate = gx.warmup_cosine_decay_schedule(0.0, 1e-3, steps // 15, steps, 1e-4)
    adamw, narrow = gx.adamw(rate, weight_decay=0.1), jnp.bfloat16
    found: dict[str, tuple[Any, Any]] = {"float32 AdamW": (adamw, jnp.float32)}
    found["naive bfloat16 parameters"] = (adamw, narrow)
    found["naive bfloat16 parameters and state"] = (gx.stored_as("bfloat16", adamw), narrow)
    found["split16, int8 state"] = (gx.chain(gx.stored_as("int8", adamw), gx.round_updates("split16")), narrow)
    found["int8 state"] = (gx.stored_as("int8", adamw), jnp.float32)
    found["int8 state, stochastic"] = (gx.stored_as("int8", adamw, stochastic=True), jnp.float32)
    for mode in ("split16", "kahan", "stochastic"):
        found[f"{mode} parameters"] = (gx.chain(adamw, gx.round_updates(mode)), narrow)
    found["master weights"] = (gx.master_weights(adamw), narrow)
    for codec in ("bfloat16", "float16", "float8_e4m3", "int4"):
        found[f"{codec} state"] = (gx.stored_as(codec, adamw), jnp.float32)
    for codec in ("bfloat16", "int4"):
        found[f"{codec} state, stochastic"] = (gx.stored_as(codec, adamw, stochastic=True), jnp.float32)
    return found


def train(tx: Any, dtype: Any, seed: int, steps: int) -> tuple[float, float]:
    """The final validation loss, and the bytes of parameters and state per parameter."""
    training, held, letters = text()
    params = initial(seed, letters, dtype)
    state = tx.init(params)
    size = sum(x.nbytes for x in jax.tree.leaves((params, state))) / sum(x.size for x in jax.tree.leaves(params))

    @jax.jit
    def run(params: Any, state: Any, batches: Any) -> Any:
        def step(carry: Any, batch: Any) -> Any:
            params, state = carry
            updates, state = tx.update(jax.grad(loss)(params, batch), state, params)
            return (gx.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), batches)[0]

    rng = np.random.default_rng(1000 + seed)
    for done in range(0, steps, CHUNK):
        params, state = run(params, state, windows(training, min(CHUNK, steps - done), rng))
    measured = jax.jit(loss)
    batches = windows(held, VALIDATION_BATCHES, np.random.default_rng(0))
    return float(np.mean([measured(params, batch) for batch in batches])), size


def table(results: list[dict[str, Any]], steps: int) -> str:
    """Rows of which every seed is there beside the base's."""
    by_row: dict[str, dict[int, dict[str, Any]]] = {}
    for r in results:
        if r["steps"] == steps:
            by_row.setdefault(r["row"], {})[r["seed"]] = r
    base = by_row.get("float32 AdamW", {})
    lines = [
        f"Validation loss after {steps} steps, mean over seeds; difference to float32 AdamW with the same seeds.",
        "",
        "| state and rounding | seeds | loss | difference, % | by seed, % | bytes per parameter |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in by_row.items():
        shared = sorted(set(runs) & set(base))
        if not shared:
            continue
        worse = [100 * (runs[s]["loss"] / base[s]["loss"] - 1) for s in shared]
        mean = statistics.mean(runs[s]["loss"] for s in shared)
        each = ", ".join(f"{x:+.2f}" for x in worse)
        size = runs[shared[0]]["bytes"]
        lines.append(f"| {name} | {len(shared)} | {mean:.4f} | {statistics.mean(worse):+.2f} | {each} | {size:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="train the rows that contain this text")
    parser.add_argument("--results", type=Path, default=OUTPUT / "quality.jsonl", help="where finished runs are kept")
    options = parser.parse_args()
    options.results.parent.mkdir(exist_ok=True)
    options.results.touch()
    results = [json.loads(line) for line in options.results.read_text().splitlines()]
    finished = {(r["row"], r["seed"], r["steps"]) for r in results}
    for seed in range(options.seeds):
        for name, (tx, dtype) in rows(options.steps).items():
            if options.only not in name or (name, seed, options.steps) in finished:
                continue
            start = time.perf_counter()
            final, size = train(tx, dtype, seed, options.steps)
            seconds = time.perf_counter() - start
            run = {"row": name, "seed": seed, "steps": options.steps, "loss": final, "bytes": size, "seconds": seconds}
            results.append(run)
            with options.results.open("a") as file:
                file.write(json.dumps(run) + "\n")
            print(f"{name}, seed {seed}: {final:.4f} in {seconds:.0f} s", flush=True)
    (OUTPUT / "quality.md").write_text(table(results, options.steps))
    print(table(results, options.steps))


if __name__ == "__main__":
    main()
