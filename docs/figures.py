"""Write what the landing page counts: passes beside optax, bytes of state, frameworks; from what benchmarks keep."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from catalogue_page import SHAPES, measured
from example_programs import ROOT
from matplotlib.figure import Figure
from reference_pages import write_changed

import gradxform as gx
from gradxform.inspect.explain import tree_bytes

STEPS = (
    "adamw",
    "clip + adamw",
    "lamb",
    "lars",
    "guard(clip + adamw)",
    "accumulate(clip + adamw, 4)",
    "adapters: clip + adamw",
    "matrices: muon",
)
"""The compositions on the landing page; `benchmarks/compiled/results.json` has all of them."""
FRAMEWORKS = {"torch": "PyTorch 2.13", "paddle": "Paddle 3.3.1", "mindspore": "MindSpore 2.10"}
MEMORY: dict[str, Callable[[], Any]] = {
    "sgd": lambda: gx.sgd(0.1),
    "adafactor": lambda: gx.adafactor(0.1),
    "momentum, lion, muon": lambda: gx.lion(0.1),
    "adam_mini": lambda: gx.adam_mini(0.1),
    "adamw": lambda: gx.adamw(0.1),
    "adamw, bfloat16": lambda: gx.stored_as("bfloat16", gx.adamw(0.1)),
    "adamw, int8": lambda: gx.stored_as("int8", gx.adamw(0.1)),
    "adamw, master_weights": lambda: gx.master_weights(gx.adamw(0.1)),
    "adamw, split16": lambda: gx.chain(gx.adamw(0.1), gx.round_updates("split16")),
    "adamw, int8, split16": lambda: gx.chain(gx.stored_as("int8", gx.adamw(0.1)), gx.round_updates("split16")),
    "soap": lambda: gx.soap(0.1),
}
NARROW = ("master_weights", "split16")
"""What is there for parameters in bfloat16, and is counted with these."""


def write(folder: Path) -> None:
    write_changed(folder / "passes.txt", passes())
    write_changed(folder / "frameworks.txt", frameworks())
    if not (picture := folder / "memory.svg").exists():
        memory().savefig(picture)


def passes() -> str:
    kept = {(f["target"], f["row"], f["library"]): f for f in measured() if f["set"] == "compositions"}

    def ratio(row: str) -> str:
        ours, peer = (kept["v5e", row, library]["cycles"] for library in ("gradxform", "optax"))
        return f"{ours / peer:.2f}"

    def cells(row: str) -> list[str]:
        both = [f"{kept['h100', row, library]['passes']:.2f}" for library in ("gradxform", "optax")]
        return [f"``{row}``", *both, ratio(row)]

    head = ["One step", "H100, passes", "optax", "TPU v5e, cycles / optax's"]
    return rst_table([head, *map(cells, STEPS)])


def frameworks() -> str:
    scenarios = (ROOT / "docs/scenarios.md").read_text()
    rows = [["", "Optimizers", "Schedules", "Recorded runs replayed", "Scenarios of its own tests"]]
    for name, title in FRAMEWORKS.items():
        package, schedules = (importlib.import_module(f"gradxform.compat.{name}{part}") for part in ("", ".schedules"))
        makes = [f for n in package.__all__ if inspect.isfunction(f := getattr(package, n)) and takes_rate(f)]
        recorded = len(list((ROOT / "tests/compat/golden").glob(f"{name}_*.npz")))
        found = re.search(rf"## {title}.*?(\d+) of (\d+) are right", scenarios, re.DOTALL)
        right = f"{found[1]} of {found[2]} the same" if found else ""
        rows.append([f":doc:`{title} </coming_from_{name}>`", len(makes), len(schedules.__all__), recorded, right])
    return rst_table(rows)


def takes_rate(f: Any) -> bool:
    return bool({"lr", "learning_rate"} & inspect.signature(f).parameters.keys())


def rst_table(rows: list[list[Any]]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def memory() -> Figure:
    """Bars: the bytes of parameters and of state for each parameter."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    panel = figure.subplots()
    names = list(MEMORY)
    params = [2.0 if any(word in name for word in NARROW) else 4.0 for name in names]
    dtypes = ["bfloat16" if size == 2 else "float32" for size in params]
    count = tree_bytes(SHAPES) / 4
    state = []
    for name, dtype in zip(names, dtypes, strict=True):
        shapes = jax.tree.map(lambda x, dtype=dtype: jax.ShapeDtypeStruct(x.shape, dtype), SHAPES)
        state.append(tree_bytes(jax.eval_shape(MEMORY[name]().init, shapes)) / count)
    panel.barh(names, params, color="0.75", label="parameters")
    bars = panel.barh(names, state, left=params, color="C0", label="state")
    panel.bar_label(bars, [f"{p + s:.2f}" for p, s in zip(params, state, strict=True)], padding=3)
    panel.invert_yaxis()
    panel.margins(x=0.12)
    panel.set_xlabel("bytes for each parameter of a matrix of 1024 x 1024")
    panel.legend(loc="upper right")
    return figure
