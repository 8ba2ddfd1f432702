"""Schedules and hyperparameters as pictures."""

from __future__ import annotations

import os
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
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plot needs matplotlib: pip install gradxform[plot]") from error
    figure = Figure(figsize=(6.4, 0.6 + 2.2 * len(curves)), layout="constrained")
    panels = figure.subplots(len(curves), sharex=True, squeeze=False)[:, 0]
    for panel, (name, values) in zip(panels, curves.items(), strict=True):
        panel.plot(np.arange(steps), values)
        panel.set_ylabel(name)
    panels[-1].set_xlabel("step")
    if path is None:
        return figure
    figure.savefig(path)
    return None


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
