"""Optimizers side by side: every rate and every seed in one compiled program, as a table and as pictures."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core import check
from gradxform.core.chain import chain
from gradxform.core.plain import got
from gradxform.core.step import apply_updates
from gradxform.core.transform import GradientTransformation, eval_params
from gradxform.core.tree import name_of
from gradxform.core.types import Array, OptState, Params, Transformation, Updates
from gradxform.inspect.explain import aligned, tree_bytes
from gradxform.inspect.problems import PROBLEMS, Problem

POINTS = 100
"""At how many steps, evenly over a run, the loss is measured."""
VALLEY = 0.1
"""A rate is still good where it loses at most this part of what the best rate gains."""

Made = Callable[[Array], GradientTransformation]


class Runs(NamedTuple):
    """All runs of one optimizer on one problem: R rates, S seeds, T points along each.

    rates: (R,), one NaN where the rate stands in the transformation. steps: (T,). losses: (R, S, T), infinite where a
    run diverged. paths: (R, S, T, 2) where there are two parameters, else None. spectrum: singular values of the first
    update of the largest matrix over their largest, None where nothing is a matrix.
    """

    rates: np.ndarray
    steps: np.ndarray
    losses: np.ndarray
    paths: np.ndarray | None
    spectrum: np.ndarray | None

    @property
    def medians(self) -> np.ndarray:
        """The median final loss over the seeds, (R,)."""
        return np.asarray(np.median(self.losses[..., -1], axis=1))

    @property
    def best(self) -> int:
        return int(np.argmin(self.medians))


class Comparison(NamedTuple):
    """A row for each problem and optimizer; prints as a table, and draws itself."""

    rows: tuple[Row, ...]
    runs: dict[tuple[str, str], Runs]

    def __str__(self) -> str:
        head = ("problem", "optimizer", "rate", "final loss", "lowest-highest", "valley", "to target", "state", "step")
        return "\n".join(aligned(head, [row.cells() for row in self.rows]))

    def plot(self, path: str | os.PathLike[str] | BinaryIO | None = None) -> Any:
        """Draw, for each problem, the loss against the rate and along the best run, band by seeds.

        Paths where a problem has two parameters; singular values of the first update where it has matrices.
        path: as in `gx.inspect.plot`. Needs matplotlib: `pip install gradxform[plot]`.
        """
        from gradxform.inspect.plots import drawn_comparison

        return drawn_comparison(self.runs, path)


class Row(NamedTuple):
    """One optimizer on one problem, at its best rate.

    loss, low, high: median and extremes of the final loss over the seeds. valley: largest over smallest of the rates
    around the best that lose at most a tenth of what it gains; None with one rate. to_target: median steps until the
    target is reached, None where it never is. state_bytes: per parameter. microseconds: a step, all rates and seeds of
    a problem run at once.
    """

    problem: str
    optimizer: str
    rate: float | None
    loss: float
    low: float
    high: float
    valley: float | None
    to_target: int | None
    state_bytes: float
    microseconds: float

    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        rate, valley = (("-" if x is None else f"{x:.3g}") for x in (self.rate, self.valley))
        reached = "-" if self.to_target is None else str(self.to_target)
        spread = f"{self.low:.3g}-{self.high:.3g}"
        kept, taken = f"{self.state_bytes:.3g} B", f"{self.microseconds:.3g} µs"
        return self.problem, self.optimizer, rate, f"{self.loss:.3g}", spread, valley, reached, kept, taken


def compare(
    transformations: Mapping[str, Transformation | Made],
    problems: Sequence[str] | Mapping[str, Problem] = ("rosenbrock", "deep_linear", "spirals"),
    *, rates: Sequence[float] | np.ndarray | None = None, seeds: int = 3, steps: int = 300,
    target: float | None = None, progress: bool = True,
) -> Comparison:  # fmt: skip
    """Run optimizers over rates and seeds on small problems: `compare({"adam": gx.adam, "muon": gx.muon})`.

    transformations: by name, functions of the rate (`lambda r: gx.chain(gx.clip(1.0), gx.adam(r))`), called with each
    of `rates` (default: 13 from 1e-4 to 1); or transformations, in which each of `rates` replaces the number
    `learning_rate`, and which run once as they are without `rates` or such a number. problems: of 'rosenbrock',
    'quadratic', 'noisy_quadratic', 'deep_linear', 'logistic', 'spirals'; or `gx.Problem`s by name. seeds: of starts and
    batches, 0 to seeds - 1. target: loss to count steps to; None: where the first optimizer ends at its best rate.
    progress: a bar in the terminal, where `rich` is installed.
    Returns: a `Comparison`: `print` it, `plot` it; `rows` and `runs` are for programs.
    Raises: ValueError for an unknown problem, an empty dict or a rate that is not positive; TypeError for other types.
    """
    check.integer(1, seeds=seeds, steps=steps)
    check.boolean(progress=progress)
    seeds, steps = int(seeds), int(steps)
    target = None if target is None else check.number(check.finite, target=target)
    chosen = _problems(problems)
    tried = _rates(rates)
    makers = {name: _maker(name, tx, tried) for name, tx in _named("transformations", transformations).items()}
    rows, runs = [], {}
    cells = [(where, name) for where in chosen for name in makers]
    for where, name in _shown(cells) if progress else cells:
        make, at = makers[name]
        found, size, seconds = _run(make, at, chosen[where], seeds, steps)
        runs[where, name] = found
        goal = target if target is not None else runs[where, next(iter(makers))].medians.min()
        rows.append(_row(where, name, found, goal, size, 1e6 * seconds / (steps * len(at) * seeds)))
    return Comparison(tuple(rows), runs)


def _named(what: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} must be a dict by name, {got(given)}")
    if not given:
        raise ValueError(f"{what} must hold at least one, got {given}")
    return given


def _problems(given: Any) -> dict[str, Problem]:
    if not isinstance(given, Mapping):
        given = [given] if isinstance(given, str) else check.sequence("names", problems=given)
        unknown = [name for name in given if not isinstance(name, str) or name not in PROBLEMS]
        if unknown:
            raise ValueError(f"problems must be of {', '.join(PROBLEMS)}, or a dict of gx.Problem; got {unknown[0]!r}")
        given = {name: PROBLEMS[name]() for name in given}
    for name, problem in _named("problems", given).items():
        if not isinstance(problem, Problem):
            raise TypeError(f"problems[{name!r}] must be a gx.Problem, {got(problem)}")
    return dict(given)


def _rates(rates: Any) -> np.ndarray | None:
    if rates is None:
        return None
    tried = [check.number(check.positive, rates=rate) for rate in check.sequence("numbers", rates=rates)]
    if not tried:
        raise ValueError(f"rates must hold at least one, got {rates}")
    return np.asarray(tried, np.float32)


def _maker(name: str, tx: Any, rates: np.ndarray | None) -> tuple[Made, np.ndarray]:
    """A function of the rate, and the rates to call it with."""
    if not (hasattr(tx, "init") and hasattr(tx, "update")):
        if not callable(tx):
            raise TypeError(f"transformations[{name!r}] must be a transformation or a function of the rate, {got(tx)}")
        return (lambda rate: _made(name, tx(rate))), np.geomspace(1e-4, 1.0, 13) if rates is None else rates
    if rates is None or not any(_is_rate(key) for key, _ in jax.tree_util.tree_leaves_with_path(tx)):
        return (lambda rate: _made(name, tx)), np.full(1, np.nan)
    return (lambda rate: jax.tree_util.tree_map_with_path(lambda k, x: rate if _is_rate(k) else x, tx)), rates


def _is_rate(key: Any) -> bool:
    return bool(key) and name_of(key[-1]) == "learning_rate"


def _made(name: str, tx: Any) -> GradientTransformation:
    if not (hasattr(tx, "init") and hasattr(tx, "update")):
        raise TypeError(f"transformations[{name!r}] must return a transformation, {got(tx)}")
    return tx if isinstance(tx, GradientTransformation) else chain(tx)


def _shown(cells: list[Any]) -> Iterator[Any]:
    """The cells, with a bar in the terminal while they run."""
    try:
        from rich.progress import track
    except ImportError:
        return iter(cells)
    return iter(track(cells, "comparing", transient=True))


def _run(make: Made, rates: np.ndarray, problem: Problem, seeds: int, steps: int) -> tuple[Runs, float, float]:
    """All runs at once; bytes of state per parameter; seconds that they took, compiled already."""
    ends = np.unique(np.linspace(0, steps, min(POINTS, steps) + 1).astype(int))
    keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
    one = functools.partial(_one, make, problem, ends)
    sweep = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))
    compiled = sweep.lower(jnp.asarray(rates, jnp.float32), keys).compile()
    start = time.perf_counter()
    losses, paths, spectra = jax.block_until_ready(compiled(jnp.asarray(rates, jnp.float32), keys))
    seconds = time.perf_counter() - start
    losses = np.where(np.isfinite(losses), losses, np.inf).astype(np.float64)
    found = Runs(np.asarray(rates), ends, losses, None if paths is None else np.asarray(paths), None)
    if spectra is not None:
        found = found._replace(spectrum=np.asarray(spectra)[found.best, 0])
    params = jax.eval_shape(problem.init, keys[0])
    state = jax.eval_shape(lambda p: make(jnp.float32(rates[0])).init(p), params)
    return found, tree_bytes(state) / sum(x.size for x in jax.tree.leaves(params)), seconds


def _one(make: Made, problem: Problem, ends: np.ndarray, rate: Array, key: Array) -> tuple[Array, Any, Any]:
    """One run: the measured losses, the parameters along it if they are two, the first update's singular values."""
    tx, started, drawn = make(rate), *jax.random.split(key)

    def updated(count: Array, params: Params, state: OptState) -> tuple[Updates, OptState]:
        loss = problem.loss_at(jax.random.fold_in(drawn, count))
        value, grad = jax.value_and_grad(loss)(params)
        return tx.update(grad, state, params, value=value, grad=grad, value_fn=loss)

    def step(count: Array, carry: Any) -> Any:
        updates, state = updated(count, *carry)
        return apply_updates(carry[0], updates), state

    def measured(params: Params, state: OptState) -> tuple[Array, Any]:
        better = eval_params(tx, state, params)
        flat = jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(better)])
        return problem.measured(better), flat if flat.size == 2 else None

    def point(carry: Any, span: Array) -> tuple[Any, Any]:
        carry = jax.lax.fori_loop(span[0], span[1], step, carry)
        return carry, measured(*carry)

    params = problem.init(started)
    begun = params, tx.init(params)
    spans = jnp.asarray(np.stack([np.append(0, ends[:-1]), ends], 1))  # the first is empty: where a run begins
    _, (losses, paths) = jax.lax.scan(point, begun, spans)
    matrices = any(p.ndim == 2 and min(p.shape) > 1 for p in jax.tree.leaves(params))
    return losses, paths, _spectrum(updated(jnp.int32(0), *begun)[0]) if matrices else None


def _spectrum(updates: Updates) -> Array:
    """Singular values of the largest matrix, over their largest."""
    largest = max((u for u in jax.tree.leaves(updates) if u.ndim == 2), key=lambda u: u.size)
    values = jnp.linalg.svd(largest, compute_uv=False)
    return values / jnp.maximum(values[0], jnp.finfo(values.dtype).tiny)


def _row(where: str, name: str, runs: Runs, goal: float, size: float, microseconds: float) -> Row:
    losses, ends = runs.losses[runs.best], runs.losses[runs.best, :, -1]
    reached = np.flatnonzero(np.median(losses, axis=0) <= goal)
    rate = None if np.isnan(runs.rates[runs.best]) else float(runs.rates[runs.best])
    to_target = int(runs.steps[reached[0]]) if reached.size else None
    spread = float(np.median(ends)), float(ends.min()), float(ends.max())
    return Row(where, name, rate, *spread, _valley(runs), to_target, size, microseconds)


def _valley(runs: Runs) -> float | None:
    medians = runs.medians
    if len(medians) == 1 or not np.isfinite(medians.min()):
        return None
    start = np.median(runs.losses[runs.best, :, 0])
    order = np.argsort(runs.rates)
    good = medians[order] <= medians.min() + VALLEY * max(start - medians.min(), 0.0)
    walls = np.cumsum(~good)
    inside = runs.rates[order][good & (walls == walls[order == runs.best])]
    return float(inside[-1] / inside[0])
