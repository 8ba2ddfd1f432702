"""In how many steps Muon and SOAP do what AdamW does: a small character-level transformer on Python's own help texts.

`python -m benchmarks.steps_to_loss` tunes each method's rate over one grid on the first seed, and trains every seed
with the best, also in fewer steps with a whole schedule of their own. Finished runs are in `steps_to_loss.jsonl` and
are not repeated; a table goes into `docs/matrices.md`, a picture beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import gradxform as gx
from benchmarks import quality
from benchmarks.compiled.tables import DOCS, into, table

RESULTS = Path(__file__).with_suffix(".jsonl")
WIDTH, LAYERS, BATCH, STEPS, EVERY, SEEDS = 64, 2, 32, 600, 20, 3
RATES = (4e-3, 8e-3, 16e-3)
SHARES = (1 / 2, 2 / 3)
"""Of AdamW's steps, in which the others try to do as well."""
HIDDEN = gx.under("blocks") & gx.hidden_matrices
METHODS = ("AdamW", "Muon", "SOAP")
HEADS = {"qkv": gx.Matrix("in (which out)", rows="in", columns="out", which=3)}
Run = dict[str, Any]


def optimizer(name: str, rate: float, steps: int) -> Any:
    """Warm-up, then a cosine to a tenth; Muon's steps are as long as AdamW's, so that one grid of rates does for all.

    Queries, keys and values are matrices of their own; embeddings, norms and head are AdamW's.
    """
    falling = gx.warmup_cosine_decay_schedule(0.0, rate, steps // 15, steps, rate / 10)
    if name == "AdamW":
        return gx.adamw(falling, b2=0.95, weight_decay=0.1)
    if name == "SOAP":
        return gx.matrices(gx.soap(falling, weight_decay=0.1, where=HIDDEN), HEADS)
    tx = gx.muon(falling, weight_decay=0.1, adam_weight_decay=0.1, adam_eps=1e-8, consistent_rms=0.2, where=HIDDEN)
    return gx.matrices(tx, HEADS)


@jax.jit
def walked(tx: Any, params: Any, state: Any, batches: Any) -> Any:
    """Some steps; the transformation is an argument, so that a method compiles once for all rates."""

    def step(carry: Any, batch: Any) -> Any:
        params, state = carry
        updates, state = tx.update(jax.grad(quality.loss)(params, batch), state, params)
        return (gx.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, state), batches)[0]


@jax.jit
def measured(params: Any, batches: Any) -> Any:
    return jax.lax.map(lambda batch: quality.loss(params, batch), batches).mean()


def train(name: str, rate: float, seed: int, steps: int) -> Run:
    """Validation losses after every 20 steps."""
    start = time.perf_counter()
    training, held, letters = quality.text()
    validation = quality.windows(held, 16, np.random.default_rng(0), BATCH)
    params = quality.initial(seed, letters, np.float32, WIDTH, LAYERS)
    tx, rng, losses = optimizer(name, rate, steps), np.random.default_rng(1000 + seed), []
    state = tx.init(params)
    for _ in range(0, steps, EVERY):
        params, state = walked(tx, params, state, quality.windows(training, EVERY, rng, BATCH))
        losses.append(round(float(measured(gx.eval_params(tx, state, params), validation)), 4))
    seconds = round(time.perf_counter() - start, 1)
    return {"method": name, "rate": rate, "seed": seed, "steps": steps, "seconds": seconds, "losses": losses}


def load() -> list[Run]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def trained(name: str, rate: float, seed: int, steps: int) -> Run:
    """As kept, else now."""
    key = {"method": name, "rate": rate, "seed": seed, "steps": steps}
    for run in load():
        if key.items() <= run.items():
            return run
    run = train(name, rate, seed, steps)
    with RESULTS.open("a") as file:
        file.write(json.dumps(run) + "\n")
    print(*key.values(), run["losses"][-1], f"{run['seconds']:.0f} s", flush=True)
    return run


def best_rate(name: str) -> float:
    return min(RATES, key=lambda rate: trained(name, rate, 0, STEPS)["losses"][-1])


def finals(name: str, rate: float, steps: int) -> list[float]:
    """The last validation loss of every seed."""
    return [trained(name, rate, seed, steps)["losses"][-1] for seed in range(SEEDS)]


def needed(points: list[tuple[int, float]], goal: float) -> float:
    """After how many steps a loss is reached: on straight lines between runs, each with a whole schedule."""
    for (before, above), (after, below) in itertools.pairwise(points):
        if below <= goal < above:
            return before + (above - goal) / (above - below) * (after - before)
    return float(points[0][0]) if points[0][1] <= goal else math.inf


def lines() -> str:
    """A row for each method and length: losses at the end by seed; and the steps to AdamW's loss with that seed."""
    goals, rows = finals("AdamW", best_rate("AdamW"), STEPS), []
    for name in METHODS:
        rate = best_rate(name)
        lengths = [STEPS] if name == "AdamW" else [*(round(STEPS * share) for share in SHARES), STEPS]
        ends = {steps: finals(name, rate, steps) for steps in lengths}
        counts = [needed([(n, ends[n][seed]) for n in lengths], goals[seed]) for seed in range(SEEDS)]
        for steps in lengths:
            cells = [", ".join(f"{x:.3f}" for x in ends[steps]), f"{np.mean(ends[steps]):.3f}"]
            rows.append([f"{name}, {steps} steps", f"{rate:g}", *cells, ""])
        rows[-1][-1] = ", ".join(f"{n:.0f}" for n in counts) + f": {np.mean(counts) / STEPS:.2f} of AdamW's"
    return table(["", "rate", "validation loss by seed", "mean", "steps to AdamW's loss"], rows)


def picture(path: Path) -> None:
    """The validation loss along the whole runs, and where the shorter ones end."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    drawn, axes = pyplot.subplots(figsize=(7, 4))
    for name, color in zip(METHODS, ("tab:orange", "tab:blue", "tab:green"), strict=True):
        rate = best_rate(name)
        curve = np.mean([trained(name, rate, seed, STEPS)["losses"] for seed in range(SEEDS)], 0)
        axes.plot(EVERY * (1 + np.arange(len(curve))), curve, color=color, label=name)
        if name != "AdamW":
            lengths = [round(STEPS * share) for share in SHARES]
            axes.plot(lengths, [np.mean(finals(name, rate, n)) for n in lengths], "o", color=color)
        else:
            axes.axhline(curve[-1], color=color, linewidth=0.8, linestyle="--")
    axes.set(xlabel="steps (dots: runs that end there)", ylabel="validation loss", ylim=(None, 3.0))
    axes.legend()
    drawn.tight_layout()
    drawn.savefig(path, dpi=100)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    page = DOCS / "matrices.md"
    page.write_text(into(page.read_text(), "steps", lines(), "python -m benchmarks.steps_to_loss"))
    picture(DOCS / "steps.png")


if __name__ == "__main__":
    main()
