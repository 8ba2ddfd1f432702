"""Whole matrices on every device: what is written for matrices shares them out over a mesh, instead of their parts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from gradxform.core import check
from gradxform.core.chain import Chain, map_rules
from gradxform.core.devices import axis_names
from gradxform.core.stacks import by_matrix
from gradxform.core.tree import Leaf
from gradxform.core.types import Array, AxisName, Mesh, Shaped, Shardings, Transformation, Tree
from gradxform.core.value import Value
from gradxform.strategies.layout import Layout, check_mesh, of_parameter, of_statistic, specs_by_path, told, ways
from gradxform.strategies.parts import ByCompiler, is_explicit, is_manual, spec_at_hand


class Spread(Value):
    """Stacks of matrices split over an axis, as many on each device, and laid out as their leaves are afterwards."""

    mesh: Mesh
    axis: AxisName
    told: tuple[tuple[str, PartitionSpec], ...] | None = None

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}={size}" for name, size in self.mesh.shape.items())
        return f"mesh({sizes}), {self.axis!r}"

    def there(self, x: Array) -> Array:
        """The stack split over the devices, its last matrix repeated until it divides."""
        x = self._full(x)
        placed: Array = self._way.gradient(x, Layout(x.shape, (), (self.axis,), None))
        return placed

    def here(self, x: Array, count: int, joined: bool) -> Array:
        x = self.there(x)
        if is_explicit(self.mesh, self.axis) and (count < len(x) or not joined):
            x = self._way.whole(x, Layout(x.shape, (), (), None))
        return x[:count]

    def like(self, x: Array, old: Shaped) -> Any:
        lies = jax.typeof(old).sharding
        return x if lies.mesh.empty or not is_explicit(self.mesh, self.axis) else jax.sharding.reshard(x, lies)

    def layout(self, leaf: Leaf, shape: tuple[int, ...]) -> Sequence[Any]:
        spec = spec_at_hand(leaf, is_explicit(self.mesh, self.axis))
        if self.told is not None:
            spec = of_parameter(leaf.path, leaf.array.shape, dict(self.told))
        entries = (*(spec or ()), *(None,) * (leaf.array.ndim - len(spec or ())))
        return of_statistic(shape, leaf.array.shape, entries, self.mesh) or (None, None)

    def lie(self, stack: Tree, leaf: Leaf, shape: tuple[int, ...]) -> Tree:
        return self._moved(stack, leaf, shape, [0])

    def out(self, stack: Tree, leaf: Leaf, shape: tuple[int, ...]) -> Tree:
        return self._moved(jax.tree.map(self._full, stack), leaf, shape, range(len(axis_names(self.axis)) + 1))

    def back(self, stack: Tree, leaf: Leaf, shape: tuple[int, ...]) -> Tree:
        return self._moved(stack, leaf, shape, reversed(range(len(axis_names(self.axis)) + 1)))

    def _full(self, x: Array) -> Array:
        if is_manual(self.axis):
            raise ValueError("spread shares out whole arrays: run it under jit, not inside shard_map")
        if missing := -len(x) % ways(self.mesh, self.axis):
            return jnp.concatenate([x, jnp.broadcast_to(x[-1:], (missing, *x.shape[1:]))])
        return x

    def _moved(self, stack: Tree, leaf: Leaf, shape: tuple[int, ...], steps: Iterable[int]) -> Tree:
        """The stack with its matrices split as those of the leaf, but for the first axes, which split the stack.

        One axis a step: that is an exchange among the devices along it, and what changes two the compiler gathers.
        """
        own = self.layout(leaf, shape)
        for count in steps:
            stack = self._laid(stack, shape, own, axis_names(self.axis)[:count])
        return stack

    def _laid(self, stack: Tree, shape: tuple[int, ...], own: Sequence[Any], moved: tuple[str, ...]) -> Tree:
        def lay(keys: tuple[Any, ...], x: Array) -> Any:
            of_one = of_statistic(x.shape[1:], shape, own, self.mesh, **told(keys, stack, shape)) or ()
            left = (tuple(name for name in axis_names(entry) if name not in moved) or None for entry in of_one)
            return self._way.whole(x, Layout(x.shape, (moved or None, *left), (), None))

        return jax.tree_util.tree_map_with_path(lay, stack)

    @property
    def _way(self) -> ByCompiler:
        return ByCompiler(self.mesh, self.axis, True)


def spread(
    tx: Transformation,
    mesh: Mesh,
    axis: AxisName = "data",
    *,
    param_shardings: Shardings = None,
    together: int = sys.maxsize,
) -> Chain:
    """Share out whole matrices over the devices along `axis`: what is written for matrices runs on each by itself.

    The matrices of one shape, of all leaves, are one stack, which moves to the devices at once, as many to each (the
    last one several times where they do not divide), and back at once. Leaf by leaf every product of a split matrix
    asks all devices. Under `jit`; results are those without it, to rounding.
    param_shardings: how parameters lie, a tree of shardings or specs (or one for a subtree); without it, and without
    Explicit axes, updates come back whole. together: at most so many elements go at a time.
    Reach: that of the stages. State: as without it.
    Raises: TypeError for no mesh or if `tx` is not made of rules, ValueError for an unknown axis, or if no stage of
    `tx` is written for matrices.
    """
    check.axis(axis=axis)
    check_mesh(mesh, axis)
    check.integer(1, sys.maxsize, together=together)
    told = None
    if param_shardings is not None:
        told = tuple(sorted(specs_by_path(param_shardings, "param_shardings").items()))
    fields = {"places": Spread(mesh, axis, told), "together": together} if ways(mesh, axis) > 1 else {}

    def share(rule: Any) -> Any:
        return by_matrix(rule, **fields) if rule.facts.matrix else rule

    made = map_rules(tx, share, "spread")
    if made == tx:
        raise ValueError(f"spread is for stages that are written for matrices, and there is none in {tx!r}")
    return made
