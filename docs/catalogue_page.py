"""Write the catalogue: every optimizer and stage by its station, with what is known of it and its path."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from example_programs import GIVEN, ROOT, catalogue, of_catalogue, places
from matplotlib.figure import Figure
from reference_pages import inline, page_of, summary, write_changed

import gradxform as gx
from gradxform.core.chain import Chain
from gradxform.inspect.explain import tree_bytes

Reach, Station = gx.Reach, gx.Station
SHAPES = {
    "dense": {
        "kernel": jax.ShapeDtypeStruct((1024, 1024), "float32"),
        "bias": jax.ShapeDtypeStruct((1024,), "float32"),
    },
    "scale": jax.ShapeDtypeStruct((), "float32"),
}
"""What the bytes are counted over."""
INTRODUCTION = """
Reach: how far a rule looks to update one element. Bytes: what a transformation keeps for a parameter in float32,
counted over a layer of 1024 x 1024 weights. Passes: what a step moves on an H100, in units of the parameters' own size,
compiled by ``make passes``; optax's in brackets. Both are those of the arguments shown. Formulas and sources are from
docstrings.
"""
GROUPS = {
    "Cleanse": "What is wrong with a gradient is mended before anything remembers it.",
    "Direct": "From a gradient, or a mean of many, a direction.",
    "Decay": "The pull towards zero: in front of the direction L2, behind it decoupled.",
    "Step": "From a direction to a displacement of the parameter.",
    "Land": "Where the step would end is seen, and steered.",
    "Whole optimizers": (
        "Chains of stages, the learning rate included. The picture is the path of a hundred steps down the valley "
        "``(1 - x)² + 10 (y - x²)²``, at the best of seven rates, towards the star. "
        "Rules that look at rows or arrays have none."
    ),
    "Controls": "Whether a transformation runs, and what is seen of it.",
    "Strategies": "How its memory is kept, and where.",
    "Composing": "One transformation of many.",
}
LAYERS = {"control": "Controls", "strategies": "Strategies", "core": "Composing", "params": "Composing"}
RATES = tuple(float(x) for x in np.geomspace(1e-3, 1.0, 7))
START = (-1.2, 1.0)


def write(folder: Path) -> None:
    """The page, and a picture for each optimizer that looks at elements or at the whole tree."""
    kept = {(f["row"], f["library"]): f for f in measured() if (f["target"], f["set"]) == ("h100", "catalogue")}
    entries: dict[str, list[str]] = {title: [] for title in GROUPS}
    for full, module in places().items():
        name = full.removeprefix("gradxform.")
        if name in catalogue():
            tx = made(name)
            title = group_of(name, module, tx)
            drawn = title == "Whole optimizers" and draw(name, tx, folder / f"path_{name}.svg")
            ours, peer = (kept.get((name, library), {}).get("passes") for library in ("gradxform", "optax"))
            entries[title].append("\n".join(entry(name, facts(tx, ours, peer), drawn)))
    body = "\n".join(
        f"{title}\n{'-' * len(title)}\n\n{text}\n\n" + "\n".join(entries[title]) for title, text in GROUPS.items()
    )
    write_changed(folder / "catalogue.rst", f"Catalogue\n=========\n\n{INTRODUCTION}\n\n{body}")


def measured() -> list[dict[str, Any]]:
    return json.loads((ROOT / "benchmarks/compiled/results.json").read_text())


def made(name: str) -> Any:
    """The catalogue's transformation, without what feeds it there."""
    words = {"gx": gx, "jax": jax, "jnp": jnp, "np": np, "AXIS": "data"}
    exec("from gradxform.optimizers.adam import ScaleByAdam\n" + "\n".join(GIVEN.values()), words)
    return eval(written(name), words)


def written(name: str) -> str:
    return next(line for line in of_catalogue(name).splitlines() if line.startswith("tx = ")).removeprefix("tx = ")


def chain_of(tx: Any) -> Chain:
    while not isinstance(tx, Chain):
        tx = tx.inner
    return tx


def group_of(name: str, module: str, tx: Any) -> str:
    layer = module.split(".")[1]
    if layer == "optimizers" and not name.startswith(("scale_by_", "orthogonalize", "grokfast")):
        return "Whole optimizers"
    if layer in LAYERS or "tx" in inspect.signature(getattr(gx, name)).parameters:
        return LAYERS.get(layer, "Composing")
    stations = [stage.facts.station for stage in chain_of(tx).stages]
    unsaid = Station.STEP if Station.STEP in stations else Station.DIRECT
    return (unsaid if stations[-1] is None else stations[-1]).name.capitalize()


def facts(tx: Any, ours: float | None, peer: float | None) -> Iterator[str]:
    yield f"reach {chain_of(tx).reach.name.lower()}"
    yield f"{tree_bytes(jax.eval_shape(tx.init, SHAPES)) / (tree_bytes(SHAPES) / 4):.2f} B per parameter"
    if ours is not None:
        yield f"{ours:.2f} passes" + (f" ({peer:.2f})" if peer is not None else "")


def formula(name: str, far: int = 2) -> str:
    """The first equation of a docstring, or of the first stage that it names, so many names away at most."""
    codes = re.findall(r"`([^`]+)`", getattr(gx, name).__doc__ or "")
    if found := next((code for code in codes if re.search(r" (=|<-) ", code)), ""):
        return " ".join(found.split())
    named = [name for code in codes for name in re.findall(r"\w+(?=\(|$)", code)]
    stages = [n for n in named if n in catalogue() and places()[f"gradxform.{n}"].split(".")[1] not in LAYERS]
    directing = [n for n in stages if n.startswith("scale_by_") and n != "scale_by_learning_rate"]
    return formula([*directing, *stages][0], far - 1) if stages and far else ""


def entry(name: str, known: Iterator[str], drawn: bool) -> Iterator[str]:
    full, said = f"gradxform.{name}", getattr(gx, name).__doc__ or ""
    source = re.search(r"Source: (.*?)\s*\Z", said, re.DOTALL)
    yield ".. container:: entry\n"
    if drawn:
        yield f"   .. image:: path_{name}.svg\n      :alt: the path of {name}\n      :class: path\n"
    yield "   .. container:: what\n"
    yield f"      :doc:`{name} <{page_of(full)}>`: {summary(full)}\n"
    if (shown := formula(name)) and shown not in said.split("\n")[0]:
        yield f"      ``{shown}``\n"
    line = " · ".join([f"`{written(name)}`", *known, *([" ".join(source[1].split())] if source else [])])
    yield f"      .. container:: facts\n\n         {inline(line)}\n"


def valley(p: Any) -> Any:
    x, y = p["dense"]["kernel"]
    return (1 - x) ** 2 + 10 * (y - x**2) ** 2


def steps(tx: Any, rate: Any, length: int = 100) -> Any:
    """The points of a run at a rate, and the loss that it ends with."""
    tx = jax.tree_util.tree_map_with_path(
        lambda key, x: rate if key[-1:] and "learning_rate" in str(key[-1]) else x, tx
    )

    def step(carry: Any, _: None) -> Any:
        params, state = carry
        value, grads = jax.value_and_grad(valley)(params)
        extra = {"value": value, "grad": grads, "value_fn": valley, "hessian": jax.tree.map(jnp.abs, grads)}
        updates, state = tx.update(grads, state, params, **extra)
        params = gx.apply_updates(params, updates)
        return (params, state), params["dense"]["kernel"]

    start = {"dense": {"kernel": jnp.array(START)}}
    (params, _), points = jax.lax.scan(step, (start, tx.init(start)), length=length)
    return points, valley(params)


def draw(name: str, tx: Any, path: Path) -> bool:
    """The best path of an optimizer; False where there is none to draw."""
    if chain_of(tx).reach not in (Reach.ELEMENT, Reach.TREE) or name in ("dpsgd", "noisy_sgd"):
        return False
    if not path.exists():
        options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
        sweep: Callable[..., Any] = jax.jit(jax.vmap(steps, (None, 0)), compiler_options=options)
        points, losses = sweep(tx, jnp.array(RATES))
        best = points[np.argmin(np.where(np.isfinite(losses), losses, np.inf))]
        figure(np.concatenate([[START], best])).savefig(path)
    return True


def figure(points: np.ndarray) -> Figure:
    x, y = np.meshgrid(np.linspace(-1.8, 1.8, 50), np.linspace(-0.8, 2.2, 50))
    drawn = Figure(figsize=(1.8, 1.5))
    panel = drawn.add_axes((0, 0, 1, 1))
    panel.set(xlim=(-1.8, 1.8), ylim=(-0.8, 2.2), xticks=[], yticks=[])
    panel.contour(
        x, y, valley({"dense": {"kernel": (x, y)}}), levels=np.geomspace(0.2, 100, 7), colors="0.8", linewidths=0.6
    )
    panel.plot(*points.T, color="C0", marker=".", markersize=2, linewidth=0.8)
    panel.plot(1, 1, color="C3", marker="*", markersize=7, linestyle="")
    return drawn
