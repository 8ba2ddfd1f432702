"""What is a matrix in optax's Muon, by its dimension numbers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gradxform.compat.optax.stages import REFUSALS, ByLeaf, Stage
from gradxform.core.transform import GradientTransformation
from gradxform.core.types import Structure, Updates
from gradxform.params.matrices import Matrix, matrices

NUMBERS = "weight_dimension_numbers"
Axes: TypeAlias = tuple[int, tuple[int, ...], tuple[int, ...]]
"""How many axes an array has, and which of them are the rows and the columns of a matrix."""
PLAIN: Axes = (2, (0,), (1,))


def of_matrices(stage: Callable[..., optax.GradientTransformation]) -> Callable[..., optax.GradientTransformation]:
    """A stage's function whose dimension numbers say what is a matrix."""
    signature = inspect.signature(stage)

    @functools.wraps(stage)
    def made(*args: Any, **kwargs: Any) -> optax.GradientTransformation:
        tx = stage(*args, **kwargs)
        numbers = signature.bind(*args, **kwargs).arguments.get(NUMBERS)
        return tx._replace(update=Dimensioned(tx.update, numbers)) if isinstance(tx.update, Stage) else tx

    return made if NUMBERS in signature.parameters else stage


class Dimensioned(ByLeaf):
    """The update of a stage of ours for matrices."""

    def __init__(self, stage: Stage, numbers: Any) -> None:
        super().__init__(stage.made)
        self.numbers = numbers
        self.folded = functools.lru_cache(maxsize=16)(functools.partial(Folded, stage))

    def at(self, updates: Updates) -> Folded | None:
        try:
            numbers = self.numbers(updates) if callable(self.numbers) else self.numbers
            leaves, structure = jax.tree.leaves(updates), cast(Structure, jax.tree.structure(updates))
            each = [None] * len(leaves) if numbers is None else structure.flatten_up_to(numbers)
            return self.folded(tuple(_axes(jnp.ndim(x), n) for x, n in zip(leaves, each, strict=True)))
        except REFUSALS:
            return None


class Folded(Stage):
    """A stage at the leaves of a list, each with its axes."""

    def __init__(self, stage: Stage, axes: tuple[Axes, ...]) -> None:
        super().__init__(stage.made, _by_matrix(stage.tx, axes))
        self.plain, self.axes = stage.tx, axes

    def at(self, places: Iterable[int]) -> GradientTransformation:
        return _by_matrix(self.plain, [self.axes[i] for i in places])


def _axes(ndim: int, numbers: Any) -> Axes:
    if numbers is None:
        return ndim, (0,), (1,)
    rows, columns = (
        tuple(int(axis) % ndim for axis in np.atleast_1d(side))
        for side in (numbers.reduction_axis, numbers.output_axis)
    )
    return ndim, rows, columns


def _by_matrix(tx: GradientTransformation, axes: Sequence[Axes]) -> GradientTransformation:
    """The transformation of a list of arrays, each a stack of matrices."""
    specs = {
        "^(" + "|".join(str(i) for i, x in enumerate(axes) if x == kind) + ")$": _matrix(*kind)
        for kind in {*axes} - {PLAIN}
    }
    return matrices(tx, specs) if specs else tx


def _matrix(ndim: int, rows: tuple[int, ...], columns: tuple[int, ...]) -> Matrix:
    names = [f"a{i}" for i in range(ndim)]
    return Matrix(" ".join(names), *(" ".join(names[i] for i in side) for side in (rows, columns)))
