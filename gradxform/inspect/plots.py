"""Schedules and hyperparameters as pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.control.tunable import hyperparams_at
from gradxform.core import check
from gradxform.core.hyper import Hyper, Schedule, coerce, evaluate
from gradxform.core.transform import GradientTransformation
from gradxform.core.types import ArrayLike


def plot(
    what: Hyper | GradientTransformation, steps: int, path: str | os.PathLike[str] | BinaryIO | None = None
) -> Any:
    """Draw a schedule, or each hyperparameter of a transformation that changes, over steps 0 to steps - 1.

    what: a schedule, a function `count -> value`, a table, or a transformation (all of its hyperparameters where none
    changes; tunable ones as they begin). path: write a picture there, PNG unless its name says otherwise; without it
    the matplotlib figure is returned, not shown. Needs matplotlib: `pip install gradxform[plot]`.
    Raises: ImportError without matplotlib; ValueError for steps < 1, or a transformation without hyperparameters.
    """
    check.integer(1, steps=steps)
    curves = _curves(what, steps)
    if not curves:
        raise ValueError(f"{what!r} has no hyperparameters to plot")
    figure = _figure("plot", 6.4, 0.6 + 2.2 * len(curves))
    panels = figure.subplots(len(curves), sharex=True, squeeze=False)[:, 0]
    for panel, (name, values) in zip(panels, curves.items(), strict=True):
        panel.plot(np.arange(steps), values)
        panel.set_ylabel(name)
    panels[-1].set_xlabel("step")
    return _written(figure, path)


def _figure(what: str, width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"{what} needs matplotlib: pip install gradxform[plot]") from error
    return Figure(figsize=(width, height), layout="constrained")


def _written(figure: Any, path: str | os.PathLike[str] | BinaryIO | None) -> Any:
    if path is None:
        return figure
    figure.savefig(path)
    return None


def drawn_comparison(runs: Mapping[tuple[str, str], Any], path: str | os.PathLike[str] | BinaryIO | None) -> Any:
    """What `Comparison.plot` draws: a line of panels for each problem, a colour for each optimizer."""
    problems = list(dict.fromkeys(where for where, _ in runs))
    names = list(dict.fromkeys(name for _, name in runs))
    figure = _figure("Comparison.plot", 12.6, 0.5 + 3.2 * len(problems))
    axes = figure.subplots(len(problems), 3, squeeze=False)
    for (rates, along, third), where in zip(axes, problems, strict=True):
        rates.set_title(where, loc="left")
        for i, name in enumerate(names):
            found, color = runs[where, name], f"C{i}"
            _draw_rates(rates, found, color)
            _draw_along(along, found, color)
            _draw_third(third, found, color)
        if not third.lines:
            third.set_axis_off()
        start = max(np.median(runs[where, name].losses[..., 0]) for name in names)
        rates.set_ylim(top=2 * start)
    lines = [(axes[0, 1].lines[i], name) for i, name in enumerate(names)]
    figure.legend(*zip(*lines, strict=True), loc="outside upper center", ncols=min(len(names), 6))
    return _written(figure, path)


def _draw_rates(panel: Any, runs: Any, color: str) -> None:
    panel.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="final loss")
    if len(runs.rates) == 1:
        panel.axhline(runs.medians[0], color=color, linestyle=":")
        return
    order = np.argsort(runs.rates)
    _draw_band(panel, runs.rates[order], runs.losses[order, :, -1].T, color, marker=".")


def _draw_along(panel: Any, runs: Any, color: str) -> None:
    panel.set(yscale="log", xlabel="step", ylabel="loss at the best rate")
    _draw_band(panel, runs.steps, runs.losses[runs.best], color)


def _draw_band(panel: Any, x: np.ndarray, losses: np.ndarray, color: str, **style: Any) -> None:
    losses = np.where(np.isfinite(losses), losses, np.nan)
    panel.plot(x, np.median(losses, 0), color=color, **style)
    panel.fill_between(x, losses.min(0), losses.max(0), color=color, alpha=0.2, linewidth=0)


def _draw_third(panel: Any, runs: Any, color: str) -> None:
    """The path where there are two parameters, else what a first update does to the directions of a matrix."""
    if runs.paths is not None:
        panel.set(xlabel="first parameter", ylabel="second parameter")
        panel.plot(*runs.paths[runs.best, 0].T, color=color, marker=".", markersize=3, linewidth=0.8)
    elif runs.spectrum is not None:
        panel.set(yscale="log", ylim=(1e-4, 1.5), xlabel="index", ylabel="singular values of the first update")
        panel.plot(runs.spectrum, color=color, marker=".")


def _curves(what: Hyper | GradientTransformation, steps: int) -> dict[str, np.ndarray]:
    counts = jnp.arange(steps)
    if not isinstance(what, GradientTransformation):
        schedule = coerce("what", what)
        name = schedule.public_name() if isinstance(schedule, Schedule) else "value"
        return {name: _values(jax.vmap(lambda count: evaluate(schedule, count))(counts), steps)}
    scalar = {name for name, x in hyperparams_at(what, 0).items() if not isinstance(x, dict) and np.ndim(x) == 0}
    each = jax.vmap(lambda count: {name: x for name, x in hyperparams_at(what, count).items() if name in scalar})(
        counts
    )
    values = {name: _values(each[name], steps) for name in hyperparams_at(what, 0) if name in scalar}
    changing = {name: x for name, x in values.items() if np.ptp(x) > 0}
    return changing or values


def _values(x: ArrayLike, steps: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(x, np.float64), (steps,))
