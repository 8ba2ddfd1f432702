"""Replay recorded runs of torch, paddle and MindSpore: `python -m tests.compat.replay [FOLDER]`.

Every case in the folder is rebuilt from its config through `gradxform.compat`, and its gradients are replayed. One line
for each case that differs, then `N of M cases reproduced, K not built`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gradxform as gx
from tests.compat import build_mindspore, build_paddle, build_torch
from tests.trajectories import double

GOLDEN = Path(__file__).parent / "golden"
BUILDERS: dict[str, ModuleType] = {"torch": build_torch, "paddle": build_paddle, "mindspore": build_mindspore}
TOLERANCE = {"float32": 2e-6, "float64": 1e-12}


class Result(NamedTuple):
    """What became of a case: `reproduced`, `differs` or `not built`, and why."""

    case: str
    verdict: str
    detail: str = ""
    quirk: str = ""

    @property
    def fails(self) -> bool:
        return self.verdict == "differs" and not self.quirk


def cases(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npz"))


def load(path: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    with np.load(path) as file:
        arrays = dict(file)
    return arrays, json.loads(str(arrays.pop("config")))


def replay(path: Path) -> Result:
    """One case from its file."""
    arrays, config = load(path)
    quirk = config.get("quirk") or ""
    try:
        with double() if config.get("dtype") == "float64" else single():
            tx = BUILDERS[config["framework"]].build(config)
            if tx is None:
                return Result(path.stem, "not built", quirk=quirk)
            detail = first_difference(arrays, config, tx)
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
    return Result(path.stem, "differs" if detail else "reproduced", detail, quirk)


def single() -> Any:
    return jax.enable_x64(False) if hasattr(jax, "enable_x64") else jax.experimental.disable_x64()


def first_difference(arrays: Mapping[str, Any], config: dict[str, Any], tx: Any) -> str:
    """Where the replayed run first leaves the recorded one; empty if it does not."""
    if "overflow" in arrays:
        return first_scaled_difference(arrays, config, tx)
    after, state = run(arrays, config, tx)
    close = TOLERANCE[config["dtype"]]
    for t, params in enumerate(after, start=1):
        for leaf, w in params.items():
            if problem := compare(w, arrays[f"after/{t}/{leaf}"], close, 1.0):
                return f"{leaf} after step {t} {problem}"
    final = f"state/{config['n_steps']}/"
    for key in sorted(key for key in arrays if key.startswith(final)):
        name = key.removeprefix(final)
        if name not in state:
            return f"the state has no {name}"
        if problem := compare(state[name], arrays[key], close, 0.0):
            return f"{name} after the last step {problem}"
    return ""


def first_scaled_difference(arrays: Mapping[str, Any], config: dict[str, Any], tx: Any) -> str:
    """The same for loss scaling: the scale after every step exactly, and the parameters where there are any."""
    params = {leaf: jnp.asarray(arrays[f"param/{leaf}"]) for leaf, _ in config["leaves"]} or {"w": jnp.zeros(2)}
    state, step = tx.init(params), gx.make_step(tx)
    for t, overflow in enumerate(arrays["overflow"], start=1):
        bad = jnp.inf if overflow else 1.0
        grads = gradients(arrays, config, t) or {"w": jnp.ones(2)}
        scaled = jax.tree.map(lambda g, by=bad * state.scale: g * by, grads)
        params, state = step(params, state, scaled)
        if float(state.scale) != float(arrays["loss_scale_after"][t - 1]):
            return f"the scale after step {t} is {state.scale}, recorded {arrays['loss_scale_after'][t - 1]}"
        if "counter_after" in arrays and int(state.good) != arrays["counter_after"][t - 1]:
            return f"the counter after step {t} is {state.good}, recorded {arrays['counter_after'][t - 1]}"
        for leaf, _ in config["leaves"]:
            if problem := compare(params[leaf], arrays[f"after/{t}/{leaf}"], TOLERANCE[config["dtype"]], 1.0):
                return f"{leaf} after step {t} {problem}"
    skipped = int(np.sum(arrays["overflow"]))
    return "" if int(state.skipped) == skipped else f"{state.skipped} steps were skipped, recorded {skipped}"


def compare(ours: Any, theirs: Any, close: float, least: float) -> str:
    """The error in units of the largest value, or of `least` where that is larger; empty within the tolerance."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        return f"has shape {ours.shape}, recorded {theirs.shape}"
    largest = max(np.abs(theirs).max(initial=0.0), least) or 1.0
    error = np.abs(ours - theirs).max(initial=0.0) / largest
    return "" if error <= close else f"is off by {error:.2e} of its largest value, allowed are {close:.0e}"


def run(arrays: Mapping[str, Any], config: dict[str, Any], tx: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Parameters after each step, and the final state under the framework's names."""
    params = {leaf: jnp.asarray(arrays[f"param/{leaf}"]) for leaf, _ in config["leaves"]}
    state, after = tx.init(params), []

    @jax.jit
    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, params, **closure(arrays))
        return gx.apply_updates(params, updates), state

    for t in range(1, config["n_steps"] + 1):
        params, state = step(params, state, gradients(arrays, config, t))
        after.append(params)
    return after, BUILDERS[config["framework"]].state(config, state, params)


def closure(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The objective, where a case records one: `½ x·A·x - b·x`."""
    if "const/A" not in arrays:
        return {}
    return {"value_fn": lambda w: 0.5 * w["x"] @ arrays["const/A"] @ w["x"] - arrays["const/b"] @ w["x"]}


def gradients(arrays: Mapping[str, Any], config: dict[str, Any], t: int) -> dict[str, Any]:
    """What was handed over at step t; None where a leaf took no part."""

    def at(leaf: str, shape: Any) -> Any:
        if f"grad_indices/{t}/{leaf}" in arrays:
            return gx.Rows(arrays[f"grad_indices/{t}/{leaf}"], arrays[f"grad_values/{t}/{leaf}"], tuple(shape))
        return jnp.asarray(arrays[f"grad/{t}/{leaf}"]) if f"grad/{t}/{leaf}" in arrays else None

    return {leaf: at(leaf, shape) for leaf, shape in config["leaves"]}


def report(results: Iterable[Result]) -> Iterator[str]:
    """The lines to print."""
    found = list(results)
    for result in found:
        if result.verdict == "differs":
            kind = "a quirk that is decided otherwise" if result.quirk else "differs"
            yield f"{result.case}: {kind}: {result.quirk or result.detail}"
    count = [result.verdict for result in found].count
    yield f"{count('reproduced')} of {len(found)} cases reproduced, {count('not built')} not built"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Replay recorded runs of torch, paddle and MindSpore.")
    parser.add_argument("folder", nargs="?", type=Path, default=GOLDEN, help="where the .npz files are")
    folder = parser.parse_args(arguments).folder
    found = [replay(path) for path in cases(folder)]
    for line in report(found):
        sys.stdout.write(line + "\n")
    return int(not found or any(result.fails for result in found))


if __name__ == "__main__":
    sys.exit(main())
