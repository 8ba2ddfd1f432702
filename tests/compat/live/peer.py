"""What the peers share: a folder of configurations in, a folder of runs out. They have NumPy and their framework."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

Arrays = dict[str, Any]


class Run(Protocol):
    """A net of arrays and its optimizer."""

    def rate(self) -> Any:
        """The learning rate of the next step."""

    def step(self, grads: Arrays) -> None:
        """gradients: an array, a pair of indices and values, or None."""

    def params(self) -> Arrays:
        """Copies of the parameters."""

    def saved(self) -> dict[str, Any]:
        """What the framework saves, flat: arrays, and what JSON can hold."""

    def load(self, saved: dict[str, Any]) -> None:
        """Go on from it, by the way that the framework documents."""


class Case(NamedTuple):
    name: str
    config: dict[str, Any]
    arrays: Arrays


def read(folder: Path) -> Iterator[Case]:
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            arrays = dict(file)
        yield Case(path.stem, json.loads(str(arrays.pop("config"))), arrays)


def write(folder: Path, case: Case) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{case.name}.npz", **case.arrays, config=np.array(json.dumps(case.config)))


def under(prefix: str, arrays: Arrays) -> Arrays:
    return {key.removeprefix(prefix): x for key, x in arrays.items() if key.startswith(prefix)}


def leaves(case: Case, prefix: str) -> Arrays:
    """The parameters under a prefix, in the order of the configuration."""
    return {leaf: case.arrays[f"{prefix}{leaf}"] for leaf, _ in case.config["leaves"]}


def gradients(case: Case, t: int) -> Arrays:
    """Leaf -> what it gets at step t."""

    def at(leaf: str) -> Any:
        if f"grad_indices/{t}/{leaf}" in case.arrays:
            return case.arrays[f"grad_indices/{t}/{leaf}"], case.arrays[f"grad_values/{t}/{leaf}"]
        return case.arrays.get(f"grad/{t}/{leaf}")

    return {leaf: at(leaf) for leaf, _ in case.config["leaves"]}


def split(saved: dict[str, Any], half: str) -> tuple[Arrays, dict[str, Any]]:
    """Arrays under their prefix, and the rest."""
    arrays = {f"{half}{key}": x.copy() for key, x in saved.items() if isinstance(x, np.ndarray)}
    return arrays, {key: x for key, x in saved.items() if not isinstance(x, np.ndarray)}


def walked(case: Case, run: Run, first: int, into: str) -> Iterator[tuple[int, Any]]:
    """The rest of the run, step by step, with the rate of each."""
    for t in range(first, case.config["n_steps"] + 1):
        rate = run.rate()
        run.step(gradients(case, t))
        case.arrays.update({f"{into}/{t}/{leaf}": w for leaf, w in run.params().items()})
        yield t, rate


def record(case: Case, begin: Callable[[dict[str, Any], Arrays], Run]) -> Case:
    """The whole run, and what the framework saves half-way."""
    run, rates = begin(case.config, leaves(case, "param/")), []
    for t, rate in walked(case, run, 1, "after"):
        rates.append(rate)
        if t == case.config["half"]:
            arrays, case.config["saved"] = split(run.saved(), "saved/")
            case.arrays.update(arrays)
    case.config["lr_per_step"] = rates
    return case


def go_on(case: Case, begin: Callable[[dict[str, Any], Arrays], Run]) -> Case:
    """The second half of the run, from what was saved here, and from what the framework saved itself, if it can."""
    half = case.config["half"]

    def resumed(saved: str, params: str, into: str) -> None:
        run = begin(case.config, leaves(case, params))
        run.load({**under(f"{saved}/", case.arrays), **case.config[saved]})
        for _ in walked(case, run, half + 1, into):
            pass

    resumed("ours", "half/", "on")
    with suppress(Exception):
        resumed("saved", f"after/{half}/", "resumed")
    return case


def serve(begin: Callable[[dict[str, Any], Arrays], Run]) -> None:
    """`record FOLDER RESULTS` or `go_on FOLDER RESULTS`; an error becomes an entry of the config."""
    part, folder, results = sys.argv[1:]
    done = {"record": record, "go_on": go_on}[part]
    for case in read(Path(folder)):
        try:
            found = done(case, begin)
        except Exception as error:
            found = case
            found.config["error"] = f"{type(error).__name__}: {error}"[:500]
        write(Path(results), found)
