"""One training step, compiled: the loss, its gradient, update and apply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from gradxform.control.accumulate import accumulate_gradients, in_parts
from gradxform.control.hold import tree_norm
from gradxform.control.loss_scale import scale_loss, scales_in
from gradxform.control.tunable import hyperparams
from gradxform.core import check
from gradxform.core.devices import along, axes_to_sum, axis_names, mean_over, varying_axes
from gradxform.core.donated import refuse_deleted, refuse_shared
from gradxform.core.mistakes import loss_and_aux
from gradxform.core.orders import ZEROS
from gradxform.core.plain import got
from gradxform.core.step import apply_updates, as_transformation, landed
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import is_inexact, with_others
from gradxform.core.types import (
    Array,
    AxisName,
    Loss,
    Mesh,
    OptState,
    Params,
    Shardings,
    Structure,
    Transformation,
    Tree,
    Updates,
)
from gradxform.core.unjitted import ARRAYS

FIGURES = ("loss", "grad_norm", "update_norm", "learning_rate")


def make_train_step(
    loss_fn: Loss,
    tx: Transformation,
    *,
    has_aux: bool = False,
    donate: bool = True,
    accumulate: int = 1,
    metrics: str | Sequence[str] = (),
    axis_name: AxisName | None = None,
    mesh: Mesh | None = None,
) -> TrainStep:
    """One compiled training step: `params, state, metrics = step(params, state, batch, *extra)`.

    loss_fn: `(params, batch, *extra) -> loss`, or `(loss, aux)` with has_aux; aux comes back as `metrics["aux"]`. What
    it needs beside, such as batch statistics and keys, goes in as extra and comes out in aux. Floating arrays among the
    params are trained; an equinox model is given whole. A loss scale is applied; `value`, `grad`, `value_fn`, `grad_fn`
    are handed to what reads them. donate: the memory of params and state is reused.
    accumulate: so many parts of the batch, one after another, aux stacked; loss_fn must be a mean over examples.
    metrics: of 'loss', 'grad_norm', 'update_norm', 'learning_rate'. axis_name: inside `pmap` or `shard_map`, over which
    gradients and loss are averaged. mesh: axis 0 of the batch is split over its first axis; params and state stay as
    they are sharded, or are copied to all its devices.
    Raises: TypeError or ValueError for arguments that are none of this; at the first call for what loss_fn returned.
    """
    if not callable(loss_fn):
        raise TypeError(f"loss_fn must be a function (params, batch, *extra) -> loss, {got(loss_fn)}")
    tx = as_transformation(tx)
    check.boolean(has_aux=has_aux, donate=donate)
    check.integer(1, accumulate=accumulate)
    check.names(metrics=metrics)
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    for name in names:
        check.choice(*FIGURES, metrics=name)
    check.axis_or_none(axis_name=axis_name)
    if not isinstance(mesh, jax.sharding.Mesh | None):
        raise TypeError(f"mesh must be a jax.sharding.Mesh, {got(mesh)}")
    if axis_name is not None and mesh is not None:
        raise ValueError(f"axis_name={axis_name!r} is for pmap and shard_map, mesh for a step of all devices: give one")
    return TrainStep(loss_fn, tx, has_aux, donate, int(accumulate), names, axis_name, mesh)


class Fixed(NamedTuple):
    """What of a step is known when it is compiled: leaves of params that are no arrays, and where its results lie."""

    structure: Structure | None = None
    leaves: tuple[Any, ...] = ()
    shardings: tuple[Shardings, ...] = ()

    def whole(self, arrays: Params) -> Params:
        """The params that loss_fn takes."""
        if self.structure is None:
            return arrays
        pairs = zip(self.structure.flatten_up_to(arrays), self.leaves, strict=True)
        return self.structure.unflatten([x if other is None else other for x, other in pairs])

    def placed(self, tree: Tree) -> Tree:
        """Results laid out as what they replace."""
        if not self.shardings:
            return tree
        leaves, structure = jax.tree.flatten(tree)
        pairs = zip(leaves, self.shardings, strict=True)
        return jax.tree.unflatten(
            structure, [x if s is None else jax.lax.with_sharding_constraint(x, s) for x, s in pairs]
        )


class TrainStep:
    """What `make_train_step` makes; `lower` is that of a jitted function."""

    def __init__(
        self,
        loss_fn: Loss,
        tx: GradientTransformation,
        has_aux: bool,
        donate: bool,
        parts: int,
        metrics: tuple[str, ...],
        axis_name: AxisName | None,
        mesh: Mesh | None,
    ) -> None:
        self.loss_fn, self.tx, self.has_aux, self.donates, self.parts = loss_fn, tx, has_aux, donate, parts
        self.metrics, self.axis_name, self.mesh = metrics, axis_name, mesh
        donated = (1, 2) if donate else ()
        self.jitted = jax.jit(self._step, static_argnums=0, donate_argnums=donated, keep_unused=True)

    def __call__(
        self, params: Params, state: OptState, batch: Tree, *extra: Any
    ) -> tuple[Params, OptState, dict[str, Any]]:
        try:
            args = self._args(params, state, batch, extra)
            new, state, metrics = self.jitted(*args)
        except (RuntimeError, ValueError):
            refuse_deleted(parameter=params, state=state, batch=batch, extra=extra)
            if self.donates:
                refuse_shared((params, state), batch=batch, extra=extra)
            raise
        return (new if args[0].structure is None else with_others(new, params)), state, metrics

    def lower(self, params: Params, state: OptState, batch: Tree, *extra: Any) -> jax.stages.Lowered:
        """The step as it would be compiled for these arguments, or for their shapes."""
        return self.jitted.lower(*self._args(params, state, batch, extra))

    def _args(
        self, params: Params, state: OptState, batch: Tree, extra: tuple[Any, ...]
    ) -> tuple[Fixed, Params, OptState, Tree, tuple[Any, ...]]:
        fixed, leaves = Fixed(), jax.tree.leaves(params)
        if any(map(_is_fixed, set(map(type, leaves)))):
            arrays = [x if issubclass(type(x), NUMERIC) else None for x in leaves]
            others = [x if a is None else None for x, a in zip(leaves, arrays, strict=True)]
            structure: Structure = jax.tree.structure(params)
            fixed, params = Fixed(structure, tuple(others)), structure.unflatten(arrays)
        if any(getattr(x, "weak_type", False) for x in leaves):  # what a step returns is not, and would compile again
            params = jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.result_type(x)), params)
        if self.mesh is not None:
            params, state, batch = _on(self.mesh, params, state, batch)
            fixed = fixed._replace(shardings=tuple(map(_layout, jax.tree.leaves((params, state)))))
        return fixed, params, state, batch, extra

    def _step(
        self, fixed: Fixed, params: Params, state: OptState, batch: Tree, extra: tuple[Any, ...]
    ) -> tuple[Params, OptState, dict[str, Any]]:
        scales = scales_in(state)

        def objective(params: Params, part: Tree) -> tuple[Array, tuple[Array, Any]]:
            # Variables of flax's nnx may be changed only where they were made: under the gradient's trace.
            mine = jax.tree.map(lambda x: x, extra)
            loss, aux = loss_and_aux(self.loss_fn(fixed.whole(params), part, *mine), self.has_aux)
            return scale_loss(state, loss) if scales else loss, (loss, aux)

        loss, aux, grads = self._gradient(objective, params, batch)
        figures: dict[str, Any] = {"loss": loss} if "loss" in self.metrics else {}
        if "grad_norm" in self.metrics:
            figures["grad_norm"] = tree_norm(grads, None, "make_train_step", 1.0 / scales[0] if scales else None)
        if "learning_rate" in self.metrics:
            figures["learning_rate"] = _rate(self.tx, state)
        given: dict[str, Any] = {"value": loss}
        if _asks(self.tx):
            given |= {"grad": grads, "value_fn": lambda params: self._value(objective, params, batch)}
        if any(x.own_gradients for x in self.tx.inside()):
            given["grad_fn"] = lambda params, i: self._gradient(objective, params, batch)[2]
        if "update_norm" in self.metrics:
            updates, state = self.tx.update(grads, state, params, **given)
            figures["update_norm"] = tree_norm(updates, None, "make_train_step")
            params = apply_updates(params, updates)
        else:
            params, state = landed(self.tx, params, state, grads, given)
        return *fixed.placed((params, state)), figures | ({"aux": aux} if self.has_aux else {})

    def _gradient(self, objective: Loss, params: Params, batch: Tree) -> tuple[Array, Any, Updates]:
        """The loss, aux, and the gradients of the floating leaves, averaged over devices."""
        leaves, structure = jax.tree.flatten(params)
        leaves = [jnp.asarray(x) for x in leaves]
        trained = [i for i, x in enumerate(leaves) if is_inexact(x)]

        def of_trained(xs: list[Array], part: Tree) -> Any:
            new = dict(zip(trained, xs, strict=True))
            return objective(jax.tree.unflatten(structure, [new.get(i, x) for i, x in enumerate(leaves)]), part)

        xs = [leaves[i] for i in trained]
        if self.parts == 1:
            (_, (loss, aux)), gs = jax.value_and_grad(of_trained, has_aux=True)(xs, batch)
        else:
            (_, (losses, aux)), gs = accumulate_gradients(of_trained, xs, batch, self.parts, has_aux=True)
            loss = losses.mean()
        gs = dict(zip(trained, self._averaged(gs, loss), strict=True))
        return (
            mean_over(loss, self.axis_name),
            aux,
            jax.tree.unflatten(structure, [gs.get(i) for i in range(len(leaves))]),
        )

    def _averaged(self, gs: list[Array], loss: Array) -> list[Array]:
        """Gradients of each device's loss, averaged.

        Where `shard_map` keeps account of what differs between devices, `jax.grad` has summed those of parameters that
        are the same on all, unless the loss is.
        """
        names = axis_names(self.axis_name)
        over = tuple(a for a in names if not varying_axes(along(a)) or a in varying_axes(loss))
        if not over:
            return gs
        n = jax.lax.psum(1, over)
        summed = [(g, axes_to_sum(g, over)) for g in gs]
        return [(jax.lax.psum(g, axes) if axes else g) / n for g, axes in summed]

    def _value(self, objective: Loss, params: Params, batch: Tree) -> Array:
        """The loss elsewhere, for a line search: averaged over devices, and so is its gradient."""

        def loss(part: Tree) -> Array:
            value: Array = objective(params, part)[1][0]
            return value

        def same(p: Any) -> Any:
            mean = mean_over(p, self.axis_name)
            return mean + jax.lax.stop_gradient(p - mean)

        if self.axis_name is not None:
            params = jax.tree.map(lambda p: same(p) if is_inexact(p) else p, params)
        if self.parts == 1:
            return mean_over(loss(batch), self.axis_name)
        losses: Array = jax.lax.map(jax.checkpoint(loss), in_parts(batch, self.parts))
        return mean_over(losses.mean(), self.axis_name)


NUMERIC = (*ARRAYS, jax.ShapeDtypeStruct)


def _is_fixed(kind: type) -> bool:
    """Whether a leaf of this kind, among the params, says that they are a model as it is."""
    return kind is bool or not issubclass(kind, (*NUMERIC, int, float, complex))


def _asks(tx: GradientTransformation) -> bool:
    """Whether something inside reads the objective itself, or may."""
    inside = [*tx.inside()]
    waits = any(x.between == ZEROS for x in inside)
    return any(x.sees_whole or (not waits if x.takes is None else "value_fn" in x.takes) for x in inside)


def _rate(tx: GradientTransformation, state: OptState) -> Array:
    """The learning rate of the step to come."""
    rates = {name: x for name, x in hyperparams(tx, state).items() if name.split("/")[-1] == "learning_rate"}
    if len(rates) != 1:
        names = ", ".join(rates) or "none"
        raise ValueError(
            f"metrics has 'learning_rate', and {tx!r} has {names}: read gx.hyperparams(tx, state) beside the step"
        )
    (rate,) = rates.values()
    return jnp.asarray(rate, jnp.float32)


def _layout(x: Any) -> Shardings | None:
    """How an array lies, in one form for all that are the same; None where JAX keeps to it by itself."""
    sharding = None if isinstance(x, jax.core.Tracer) else getattr(x, "sharding", None)
    if not isinstance(sharding, NamedSharding) or {*sharding.mesh.axis_types} != {AxisType.Auto}:
        return None
    spec = PartitionSpec(*sharding.spec, *[None] * (x.ndim - len(sharding.spec)))
    return NamedSharding(sharding.mesh, spec, memory_kind=sharding.memory_kind)


def _on(mesh: Mesh, params: Params, state: OptState, batch: Tree) -> tuple[Params, OptState, Tree]:
    """What is not on the devices of a mesh copied to all of them, and the batch split over its first axis."""
    devices, first = set(mesh.devices.flat), mesh.axis_names[0]

    def laid(sharding: Any) -> bool:
        """Whether it is of the mesh: an array on the only device may know of none, and explicit axes ask for theirs."""
        return sharding.device_set == devices and (len(devices) > 1 or isinstance(sharding, NamedSharding))

    def here(x: Any) -> Any:
        there = isinstance(x, jax.core.Tracer | jax.ShapeDtypeStruct) or (isinstance(x, jax.Array) and laid(x.sharding))
        return x if there else jax.device_put(x, NamedSharding(mesh, PartitionSpec()))

    def split(path: tuple[Any, ...], x: Any) -> Any:
        if np.ndim(x) and len(x) % mesh.shape[first]:
            raise ValueError(
                f"batch{jax.tree_util.keystr(path)} has shape {np.shape(x)}, its axis 0 is not {mesh.shape[first]} "
                f"equal parts for the mesh axis {first!r}"
            )
        layout = NamedSharding(mesh, PartitionSpec(first) if np.ndim(x) else PartitionSpec())
        shaped = isinstance(x, jax.ShapeDtypeStruct)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout) if shaped else jax.device_put(x, layout)

    params, state = jax.tree.map(here, (params, state))
    return params, state, jax.tree_util.tree_map_with_path(split, batch)
