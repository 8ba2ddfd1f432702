"""The page of the gallery: two tables and a picture of all that is kept."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compiled.tables import DOCS, into, table
from benchmarks.gallery.recipes import RECIPES
from benchmarks.gallery.sweep import FACTORS, Figures, kept_as
from benchmarks.gallery.tasks import ALL, TASKS, TESTS

TUNED = tuple(3.0**i for i in range(-4, 5))
"""Of AdamW, which all others are held beside."""
BASE = "adamw, tuned"
Gallery = dict[str, dict[str, Figures]]
"""By the name of a row, by task."""


def rows() -> list[tuple[str, str, tuple[float, ...]]]:
    """Name of the row, of the recipe, and the grid of factors on its rate."""
    return [(BASE, "adamw", TUNED), *((name, name, FACTORS) for name in RECIPES)]


def gallery(kept: dict[str, Figures]) -> Gallery:
    found: Gallery = {}
    for row, name, factors in rows():
        keys = {task: kept_as(RECIPES[name], task, factors)[0] for task in ALL}
        found[row] = {task: kept[key] for task, key in keys.items() if key in kept}
    return {row: tasks for row, tasks in found.items() if tasks}


def medians(figures: Figures) -> Any:
    """The median final loss of each rate, over the seeds."""
    return np.median(np.asarray(figures["losses"]), axis=1)


def standing(figures: Figures) -> tuple[float, float]:
    """The loss at the best rate, and where the task has a goal, at least that, and the step that reaches it."""
    goal, loss = ALL[figures["task"]].goal, float(medians(figures).min())
    if goal is None or loss > goal:
        return loss, math.inf
    first = int(np.argmax(np.asarray(figures["curve"]) <= goal))
    return goal, figures["steps"] * first / (len(figures["curve"]) - 1)


def passing(figures: Figures) -> int:
    """At how many rates every seed ends below the goal."""
    return int((np.asarray(figures["losses"]).max(1) <= ALL[figures["task"]].goal).sum())


def passed(tasks: dict[str, Figures]) -> int:
    return sum(passing(tasks[test]) > 0 for test in TESTS if test in tasks)


def times(factor: float) -> str:
    return f"× {factor:g}" if factor >= 1 else f"÷ {1 / factor:g}"


def loss_cell(figures: Figures, base: Figures | None) -> str:
    """The loss, or the step that reaches the goal, and the factor of its rate; bold where tuned AdamW is behind."""
    loss, step = standing(figures)
    words = f"{loss:.3g}" if step == math.inf else f"step {step:.0f}"
    ahead = base is not None and (loss, step) < standing(base)
    return f"{f'**{words}**' if ahead else words} {times(figures['factors'][int(medians(figures).argmin())])}"


def lines(found: Gallery) -> str:
    """A row for each optimizer, the one with the least mean rank first; ranks are among those that ran a task."""
    ranks: dict[str, list[int]] = {row: [] for row in found}
    for task in TASKS:
        ran = {row: standing(tasks[task]) for row, tasks in found.items() if task in tasks}
        for row, own in ran.items():
            ranks[row].append(1 + sum(other < own for other in ran.values()))
    order = sorted(found, key=lambda row: np.mean(ranks[row]) if ranks[row] else np.inf)
    base = found.get(BASE, {})
    cells = [
        [
            row,
            *(loss_cell(found[row][t], base.get(t)) if t in found[row] else "" for t in TASKS),
            f"{passed(found[row])}",
        ]
        for row in order
    ]
    return table(["", *TASKS, f"tests of {len(TESTS)}"], cells)


def test_lines(found: Gallery) -> str:
    order = sorted(found, key=lambda row: -passed(found[row]))
    cells = [[row, *(f"{passing(found[row][t]) or '·'}" if t in found[row] else "" for t in TESTS)] for row in order]
    return table(["", *TESTS], cells)


def words(tasks: dict[str, Any]) -> str:
    return "".join(f"* *{name}*: {task.words}; {task.steps} steps\n" for name, task in tasks.items())


def picture(found: Gallery, path: Path) -> None:
    """For each task the loss against the rate, and along the best run: all in grey, tuned AdamW and the best apart."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(TASKS), 6.4), layout="constrained")
    run = [task for task in TASKS if any(task in tasks for tasks in found.values())]
    axes, colors = figure.subplots(2, len(run)), {BASE: colormaps["gray"](0)}
    for (above, below), task in zip(axes.T, run, strict=True):
        ran = {row: tasks[task] for row, tasks in found.items() if task in tasks}
        first = sorted((row for row in ran if row != BASE), key=lambda row: standing(ran[row]))[:4]
        for row, figures in ran.items():
            shown = row in first or row == BASE
            color = colors.setdefault(row, colormaps["tab20"](len(colors) - 1)) if shown else "0.8"
            style = {"color": color, "linewidth": 1.6 if shown else 0.6, "zorder": 2 + shown}
            above.plot(figures["factors"], medians(figures), label=row if shown else None, marker=".", **style)
            below.plot(np.linspace(0, figures["steps"], len(figures["curve"])), figures["curve"], **style)
        start = max(figures["curve"][0] for figures in ran.values())
        least = max(1e-12, min(standing(figures)[0] for figures in ran.values()))
        for panel in (above, below):
            panel.set(yscale="log", ylim=(0.8 * least, 1.5 * start))
        above.set(xscale="log", title=task, xlabel="rate, over the author's")
        below.set(xlabel="step")
        above.legend(fontsize=7)
    axes[0, 0].set_ylabel("final loss")
    axes[1, 0].set_ylabel("loss along the best run")
    figure.savefig(path, dpi=80)


def write(kept: dict[str, Figures]) -> None:
    path, found = DOCS / "gallery.md", gallery(kept)
    text = path.read_text()
    parts = {"tasks": words(TASKS), "tests": words(TESTS), "losses": lines(found), "passed": test_lines(found)}
    for name, part in parts.items():
        text = into(text, name, part, "make gallery")
    path.write_text(text)
    picture(found, DOCS / "gallery.png")
