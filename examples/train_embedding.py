"""Train a next-character model whose weight is a table of 262,144 hashed contexts, moving only the rows looked up.

    python examples/train_embedding.py [--steps 2500] [--seed 0]

The text is Python's own language reference, which ships with it (`pydoc_data.topics`). A character is predicted from
the 1 to 6 characters before it: each of these contexts is hashed to a row of the table, the rows are summed, and a
small net reads the sum. A step looks up a hundredth of the table; `value_and_grad_rows` gives the gradient of just
these rows, and lazy Adam moves them alone. The program fails if unseen text takes too many bits per character.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pydoc_data import topics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradxform as gx

ROWS, WIDTH, HIDDEN, LONGEST, BATCH = 2**18, 32, 128, 6, 512
Params = dict[str, Any]
# What the program must reach in 2500 steps; counting what follows each three characters gives 2.6.
REQUIRED = 2.3


def load_text() -> tuple[np.ndarray, np.ndarray, int]:
    """Nine tenths of the topics for training, the others for testing, as numbers of characters; how many there are."""
    names = sorted(topics.topics)
    parts = ["".join(topics.topics[n] for i, n in enumerate(names) if (i % 10 == 0) == held_out) for held_out in (0, 1)]
    alphabet = {c: i for i, c in enumerate(sorted(set("".join(parts))))}
    train, test = (np.array([alphabet[c] for c in part], np.int32) for part in parts)
    return train, test, len(alphabet)


def contexts(text: np.ndarray) -> np.ndarray:
    """Row i: where the 1 to LONGEST characters before character i + LONGEST are hashed to."""
    code = np.zeros(len(text) - LONGEST, np.uint64)
    found = []
    for n in range(1, LONGEST + 1):
        code = code * np.uint64(1_000_003) + text[LONGEST - n : len(text) - n].astype(np.uint64) + np.uint64(n)
        found.append((code * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(46)).astype(np.int32))
    return np.stack(found, axis=1)


def init_params(characters: int, seed: int) -> Params:
    keys = jax.random.split(jax.random.key(seed), 3)

    def layer(key: Any, inside: int, outside: int) -> dict[str, jax.Array]:
        return {"kernel": jax.random.normal(key, (inside, outside)) / inside**0.5, "bias": jnp.zeros(outside)}

    table = 0.1 * jax.random.normal(keys[0], (ROWS, WIDTH))
    return {"table": table, "hidden": layer(keys[1], WIDTH, HIDDEN), "out": layer(keys[2], HIDDEN, characters)}


def bits(net: Params, rows: Any, character: Any) -> Any:
    """Mean bits per character, where `rows` (batch, contexts, width) were looked up already."""
    hidden = jax.nn.relu(rows.sum(axis=1) @ net["hidden"]["kernel"] + net["hidden"]["bias"])
    logits = hidden @ net["out"]["kernel"] + net["out"]["bias"]
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), character[:, None], axis=1)
    return -chosen.mean() / jnp.log(2.0)


def make_step(tx: gx.GradientTransformation) -> Callable[..., Any]:
    """A compiled step that reuses the memory of parameters and state, the table above all."""

    def step(params: Params, state: Any, rows: Any, character: Any) -> Any:
        table, net = params["table"], {name: part for name, part in params.items() if name != "table"}
        loss, (grads, found) = gx.value_and_grad_rows(bits)(net, table, rows, character)
        updates, state = tx.update({**grads, "table": found}, state, params)
        return gx.apply_updates(params, updates), state, loss

    return jax.jit(step, donate_argnums=(0, 1))


@jax.jit
def evaluate(params: Params, rows: Any, character: Any) -> Any:
    return bits(params, params["table"][rows], character)


def tested(params: Params, test: tuple[np.ndarray, np.ndarray]) -> float:
    parts = [slice(i, i + 4096) for i in range(0, len(test[1]) - 4095, 4096)]
    return float(np.mean([evaluate(params, test[0][part], test[1][part]) for part in parts]))


def train(steps: int, seed: int) -> tuple[Params, Any, float]:
    """Parameters, state and bits per character on text that was held out."""
    train_text, test_text, characters = load_text()
    data, test = ((contexts(text), text[LONGEST:]) for text in (train_text, test_text))
    params = init_params(characters, seed)
    tx = gx.lazy(gx.adam(gx.warmup_cosine_decay_schedule(0.0, 5e-3, 100, max(steps, 101))))
    state, step, rng = tx.init(params), make_step(tx), np.random.default_rng(seed)
    print(f"{len(data[1]):,} characters to learn from, {len(test[1]):,} held out, a table of {ROWS:,} x {WIDTH}")
    start = time.perf_counter()
    for number in range(1, steps + 1):
        picked = rng.integers(0, len(data[1]), BATCH)
        params, state, loss = step(params, state, data[0][picked], data[1][picked])
        if number % max(1, steps // 5) == 0:
            each = (time.perf_counter() - start) / number
            held_out = tested(params, test)
            print(f"step {number:5}: {loss:.3f} bits, {held_out:.3f} held out, {1e3 * each:.2f} ms a step")
    moved = np.asarray((gx.view(state, "nu")["table"] != 0).any(axis=1))
    print(f"{moved.sum():,} of {ROWS:,} rows were ever looked up, and only they moved")
    return params, state, held_out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    _, _, held_out = train(arguments.steps, arguments.seed)
    if arguments.steps >= 2500 and held_out > REQUIRED:
        raise SystemExit(f"{held_out:.3f} bits per character held out; {REQUIRED} were asked for")


if __name__ == "__main__":
    main()
