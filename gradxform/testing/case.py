"""One transformation on trial: the trees that it is tried on, and its compiled update."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.chain import Chain
from gradxform.core.facts import Reach
from gradxform.core.keys import extras_of
from gradxform.core.schema import schema
from gradxform.core.step import apply_updates
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import name_of
from gradxform.core.types import Array, Dtype, OptState, Params, Tree
from gradxform.testing import laws

NEAR = 1e-4
"""Of the largest term: far above what another order of rounding makes, far below what is another number."""


class DoesNotApplyError(Exception):
    """A law that has nothing to say, and why."""


class Case:
    """A transformation, the tree that it is tried on, and its compiled update."""

    def __init__(self, tx: GradientTransformation, shapes: Tree, extra: dict[str, Any]) -> None:
        self.tx, self.shapes, self.given = tx, shapes, extra
        self.rules = [s.only_rule for x in tx.inside() for s in getattr(x, "stages", ()) if s.only_rule is not None]
        trees = {name: alike for rule in self.rules for name, alike in extras_of(rule).items() if name not in extra}
        self.extras = {name: jax.tree.map(jnp.abs, self.tree(50)) if alike else {} for name, alike in trees.items()}
        """What stands for the extra arguments that are trees: positive numbers, and for figures nothing."""
        self.run = jax.jit(self.update)
        axes = [len(x.shape) for x in jax.tree.leaves(shapes)]
        self.at = axes.index(2) if 2 in axes else axes.index(max(axes))
        """The place of the leaf that is looked at, a matrix if there is one."""

    def tree(self, seed: int, dtype: Dtype | None = None) -> Tree:
        """Normal numbers in the form of the parameters."""
        draw = np.random.default_rng(seed).standard_normal
        return jax.tree.map(lambda x: jnp.asarray(draw(x.shape), dtype or x.dtype), self.shapes)

    def update(
        self, g: Tree, state: OptState, p: Params, extras: dict[str, Tree] | None = None
    ) -> tuple[Tree, OptState]:
        return self.tx.update(g, state, p, **self.given, **(self.extras if extras is None else extras))

    @functools.cached_property
    def moved(self) -> laws.At:
        """Gradient, state and parameters after two steps, so that no statistic is 0."""
        return self.after(2)

    def after(self, steps: int) -> laws.At:
        p = self.tree(0)
        state = self.tx.init(p)
        for i in range(steps):
            updates, state = self.run(self.tree(i + 1), state, p)
            p = apply_updates(p, jax.tree.map(lambda u: 0.1 * u, updates))
        return self.tree(steps + 1), state, p

    @property
    def rounding(self) -> float:
        """The share of the largest number to which two programs for one step agree."""
        narrow = any(x.dtype.itemsize < 4 for x in jax.tree.leaves(self.moved[1]))
        return 2.0**-6 if narrow else NEAR

    @property
    def reach(self) -> Reach | None:
        return self.tx.reach if isinstance(self.tx, Chain) else None

    @property
    def draws(self) -> bool:
        """Whether it draws numbers, of which those of another step are others."""
        return any(f.kind == "key" for rule in self.rules for f in schema(type(rule)))


def near(a: Tree, b: Tree, terms: Tree = (), to: float = NEAR) -> bool:
    """Whether two trees agree to a share of the largest number in each leaf, and of the other terms in all."""
    largest = max([0.0, *map(size, jax.tree.leaves(terms))])
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(size(x - y) <= to * max(size(y), largest) for x, y in ((_wide(x), _wide(y)) for x, y in pairs))


def _wide(x: Array) -> Any:
    return np.asarray(x, np.complex128 if jnp.iscomplexobj(x) else np.float64)


def size(x: Any) -> float:
    """The largest absolute value; infinite where one is not finite."""
    most = float(np.abs(_wide(x)).max(initial=0.0))
    return most if np.isfinite(most) else float("inf")


def by_path(tree: Tree) -> dict[str, Any]:
    return {name(path): x for path, x in jax.tree_util.tree_leaves_with_path(tree)}


def name(path: tuple[Any, ...]) -> str:
    return "/".join(map(name_of, path)) or "the array"


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
