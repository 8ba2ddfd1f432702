"""One optimizer on one task, all rates and seeds side by side, unless its figures are kept already."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradxform as gx
from benchmarks.gallery.recipes import Recipe
from benchmarks.gallery.tasks import ALL, problem
from gradxform.inspect.compare import Runs

RESULTS = Path(__file__).with_name("results.jsonl")
FACTORS = (1 / 9, 1 / 3, 1.0, 3.0, 9.0)
SEEDS, POINTS = 3, 20
Figures = dict[str, Any]


@functools.cache
def programs(task: str) -> tuple[Callable[..., Any], ...]:
    """Start, loss with gradient, Hessian's diagonal and measured loss of all runs, compiled once for all optimizers."""
    given = problem(task)

    def loss_at(key: Any, t: Any) -> Any:
        return given.loss_at(jax.random.fold_in(key, t))

    def gradient(params: Any, key: Any, t: Any) -> Any:
        return jax.value_and_grad(loss_at(key, t))(params)

    def hessian(params: Any, key: Any, t: Any) -> Any:
        return gx.hutchinson(loss_at(key, t), params, key, count=t)

    each = (0, 0, None)
    made = [jax.vmap(given.init), jax.vmap(gradient, each), jax.vmap(hessian, each), jax.vmap(given.measured)]
    return tuple(jax.jit(f) for f in made)


def step(make: Any, rate: Any, params: Any, state: Any, value: Any, grad: Any, more: Any) -> Any:
    updates, state = make(rate).update(grad, state, params, value=value, grad=grad, **more)
    return gx.apply_updates(params, updates), state


ONE_COUNT = gx.State(None, 0, 0, 0)
"""The counter is that of all runs: what happens every k steps is computed in those alone."""


@functools.lru_cache(maxsize=1)
def parts(recipe: Recipe) -> tuple[Callable[..., Any], ...]:
    """State, step and parameters to measure, of all runs: one program for tasks whose parameters have one shape."""
    make, axes = recipe.make, 0 if recipe.whole else ONE_COUNT

    def shown(rate: Any, params: Any, state: Any) -> Any:
        return gx.eval_params(make(rate), state, params)

    init = jax.vmap(lambda rate, params: make(rate).init(params), out_axes=axes)
    moved = jax.vmap(functools.partial(step, make), (0, 0, axes, 0, 0, 0), (0, axes))
    return jax.jit(init), jax.jit(moved), jax.jit(jax.vmap(shown, (0, 0, axes)))


def stepper(recipe: Recipe, task: str) -> Callable[..., Any]:
    """(rates, params, state, keys, t) -> params, state."""
    _, gradient, hessian, _ = programs(task)
    _, moved, _ = parts(recipe)

    def whole(rate: Any, params: Any, state: Any, key: Any, t: Any) -> Any:
        loss = problem(task).loss_at(jax.random.fold_in(key, t))
        more = {"value_fn": loss, "grad_fn": lambda params, i: jax.grad(loss)(params)}
        return step(recipe.make, rate, params, state, *jax.value_and_grad(loss)(params), more)

    def apart(rate: Any, params: Any, state: Any, key: Any, t: Any) -> Any:
        more = {"hessian": hessian(params, key, t)} if recipe.curved else {}
        return moved(rate, params, state, *gradient(params, key, t), more)

    return jax.jit(jax.vmap(whole, (0, 0, 0, 0, None))) if recipe.whole else apart


def run(recipe: Recipe, task: str, factors: tuple[float, ...]) -> Runs:
    """Of the factors on the recipe's rate."""
    start, _, _, measure = programs(task)
    init, _, shown = parts(recipe)
    rates = jnp.repeat(jnp.asarray(factors, jnp.float32) * recipe.rate, SEEDS)
    keys = jnp.tile(jax.vmap(jax.random.key)(jnp.arange(SEEDS)), len(factors))
    params = start(keys)
    state, step = init(rates, params), stepper(recipe, task)
    ends = np.unique(np.linspace(0, ALL[task].steps, POINTS + 1).astype(int))
    losses = [measure(params)]
    for t in range(ALL[task].steps):
        params, state = step(rates, params, state, keys, t)
        if t + 1 in ends:
            losses.append(measure(shown(rates, params, state)))
    found = np.stack(losses, -1).astype(np.float64).reshape(len(factors), SEEDS, -1)
    return Runs(np.asarray(factors), ends, np.where(np.isfinite(found), found, np.inf), None, None)


def load() -> dict[str, Figures]:
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return {json.dumps(list(figures.values())[:4]): figures for figures in map(json.loads, lines)}


def short(x: Any) -> Any:
    """Four digits of each number."""
    return [short(part) for part in x] if np.ndim(x) else float(f"{x:.4g}")


@functools.cache
def printed(recipe: Recipe) -> str:
    return repr(recipe.make(recipe.rate))


def kept_as(recipe: Recipe, task: str, factors: tuple[float, ...]) -> tuple[str, Figures]:
    """A key, and what it is made of: the task and its length, the print of the transformation and the grid."""
    what = {"task": task, "steps": ALL[task].steps, "tx": printed(recipe), "factors": list(factors)}
    return json.dumps(list(what.values())), what


def swept(recipe: Recipe, task: str, factors: tuple[float, ...], kept: dict[str, Figures]) -> Figures:
    """As kept, else run now, and kept."""
    key, what = kept_as(recipe, task, factors)
    if key not in kept:
        began = time.perf_counter()
        runs = run(recipe, task, factors)
        figures = {"losses": short(runs.losses[..., -1]), "curve": short(np.median(runs.losses[runs.best], 0))}
        kept[key] = {**what, **figures, "seconds": round(time.perf_counter() - began, 1)}
        with RESULTS.open("a") as file:
            file.write(json.dumps(kept[key]) + "\n")
    return kept[key]
