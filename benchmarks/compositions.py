"""Compositions whose compiled programs are watched, beside the catalogue's single entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

import gradxform as gx
from gradxform.compat import mindspore, paddle, torch
from gradxform.compat.optax import to_optax

P = PartitionSpec
cosine = gx.cosine_decay_schedule(0.1, 5)
kernel, bias = gx.named("kernel"), gx.named("bias")
codes = {"mu": "int8", "nu": "uint8_sqrt"}


def struct(shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)


def layer(dtype: Any = jnp.float32) -> Any:
    return {"dense": {"kernel": struct((16, 24), dtype), "bias": struct((24,), dtype)}, "scale": struct((), dtype)}


def layers(dtype: Any = jnp.float32) -> Any:
    """70 leaves under every selector, so that the walk over a leaf is a called function."""
    return {**{f"layer{i}": layer(dtype)["dense"] for i in range(70)}, "scale": struct((), dtype)}


def rows() -> Any:
    """Gradients of `layer()` with the kernel's as rows."""
    g = layer()
    sparse = gx.Rows(jnp.zeros(5, jnp.int32), jnp.zeros((5, 24)), (16, 24))
    return {**g, "dense": {**g["dense"], "kernel": sparse}}


def devices() -> Any:
    return jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))


def spread(tree: Any) -> Any:
    """The same on every device."""
    whole = NamedSharding(devices(), P())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), tree)


class Composition(NamedTuple):
    """A transformation, with the parameters, gradients and extra arguments to lower it for."""

    make: Callable[[], Any]
    params: Callable[[], Any] = layer
    grads: Callable[[], Any] | None = None
    extra: dict[str, Any] = {}  # noqa: RUF012 - never written to


loss = {"value": struct(())}


def clipped() -> Any:
    return gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(cosine, weight_decay=0.1, mask=kernel))


def grouped() -> Any:
    body = gx.chain(gx.clip_by_global_norm(1.0), gx.adam(0.1))
    return gx.groups([(bias, gx.sgd(0.1, 0.9), "biases"), ("scale", gx.freeze())], default=body)


COMPOSITIONS = {
    "many clip adamw": Composition(clipped, layers),
    "many adamw tunable": Composition(lambda: gx.adamw(gx.tunable(cosine), b1=gx.tunable(0.8)), layers),
    "many bfloat16 adamw": Composition(lambda: gx.adamw(cosine), lambda: layers(jnp.bfloat16)),
    "many lamb": Composition(lambda: gx.lamb(0.1, weight_decay=0.1), layers),
    "many lion": Composition(lambda: gx.lion(0.1, mu_dtype=jnp.bfloat16), layers),
    "many guard": Composition(lambda: gx.guard(clipped(), spike=6.0), layers, extra=loss),
    "many accumulate": Composition(lambda: gx.accumulate(clipped(), every=4), layers),
    "many loss scale": Composition(lambda: gx.dynamic_loss_scale(clipped()), layers),
    "many stored": Composition(lambda: gx.stored_as(codes, clipped(), min_size=64), layers),
    "many packed": Composition(lambda: gx.packed(gx.adamw(cosine, mask=kernel)), layers),
    "many groups": Composition(grouped, layers),
    "many schedule-free": Composition(lambda: gx.schedule_free_adamw(0.1, 5), layers),
    "many split16": Composition(
        lambda: gx.chain(gx.adam(0.1), gx.round_updates("split16")), lambda: layers(jnp.bfloat16)
    ),
    "many torch adamw": Composition(lambda: torch.adamw(lr=0.1), layers),
    "guard of accumulate": Composition(lambda: gx.guard(gx.accumulate(clipped(), every=cosine)), extra=loss),
    "loss scale of guard": Composition(lambda: gx.dynamic_loss_scale(gx.guard(clipped(), "zero", 6.0))),
    "stored stochastic": Composition(lambda: gx.stored_as(codes, clipped(), min_size=0, stochastic=True)),
    "stored float8": Composition(lambda: gx.stored_as("float8_e4m3", gx.adam(0.1), min_size=0)),
    "stored int4 kernel": Composition(lambda: gx.stored_as("int4", gx.momentum(0.1), "kernel", min_size=0)),
    "packed stored": Composition(lambda: gx.packed(gx.stored_as("bfloat16", gx.adam(0.1), min_size=0))),
    "groups in groups": Composition(
        lambda: gx.groups([("dense", gx.groups([(bias, gx.sgd(0.1))], default=clipped()), "dense")], gx.lion(0.1))
    ),
    "cautious": Composition(lambda: gx.cautious(gx.with_weight_decay(gx.adam(cosine), 0.1, "l2"))),
    "measure": Composition(lambda: gx.measure(clipped(), grad_norm=True, update_ratio="per_leaf", update_norm=True)),
    "sam": Composition(lambda: gx.sam(clipped(), gx.sgd(0.1))),
    "lookahead": Composition(lambda: gx.lookahead(clipped(), 3, 0.5)),
    "master weights": Composition(lambda: gx.master_weights(clipped()), lambda: layer(jnp.bfloat16)),
    "offloaded": Composition(lambda: gx.offloaded(gx.adam(0.1), kernel)),
    "averages": Composition(lambda: gx.chain(clipped(), gx.ema_of_params(0.9), gx.keep_params_nonnegative())),
    "complex adamw": Composition(lambda: gx.adamw(cosine), lambda: layer(jnp.complex64)),
    "float16 clip adamw": Composition(clipped, lambda: layer(jnp.float16)),
    "foreign": Composition(lambda: gx.chain(gx.trace(0.5), optax.adam(0.1), gx.ema(0.5))),
    "to_optax": Composition(lambda: optax.chain(optax.trace(0.5), to_optax(clipped()))),
    "rows adamw": Composition(clipped, grads=rows),
    "rows momentum": Composition(lambda: gx.momentum(0.1), grads=rows),
    "rows lazy": Composition(lambda: gx.lazy(gx.adamw(cosine)), grads=rows),
    "rows catch up": Composition(lambda: gx.lazy(gx.adam(0.1), mode="catch_up"), grads=rows),
    "rows lazy stored": Composition(lambda: gx.lazy(gx.adam(0.1, mu_dtype=jnp.bfloat16)), grads=rows),
    "rows accumulate": Composition(lambda: gx.accumulate(gx.adam(0.1), every=2), grads=rows),
    "sharded adamw": Composition(lambda: gx.sharded(gx.adamw(cosine), devices()), lambda: spread(layer())),
    "sharded clip adamw": Composition(lambda: gx.sharded(clipped(), devices()), lambda: spread(layers())),
    "sharded stored": Composition(
        lambda: gx.sharded(gx.stored_as("int8", gx.momentum(0.1), min_size=0), devices()), lambda: spread(layer())
    ),
    "sharded packed": Composition(lambda: gx.packed(gx.sharded(gx.adam(0.1), devices())), lambda: spread(layer())),
    "torch sgd": Composition(lambda: torch.sgd(0.1, 0.9, weight_decay=0.1, nesterov=True)),
    "torch adam amsgrad": Composition(lambda: torch.adam(amsgrad=True, weight_decay=0.1)),
    "torch rmsprop": Composition(lambda: torch.rmsprop(momentum=0.9, centered=True)),
    "torch groups": Composition(
        lambda: torch.adamw(groups=[{"params": "kernel", "lr": 0.2}, {"params": "bias|scale"}])
    ),
    "paddle momentum": Composition(lambda: paddle.momentum(0.1, use_nesterov=True, weight_decay=0.1)),
    "paddle adamw clipped": Composition(lambda: paddle.adamw(grad_clip=paddle.ClipGradByGlobalNorm(1.0))),
    "paddle lamb": Composition(lambda: paddle.lamb(0.1)),
    "mindspore adam": Composition(lambda: mindspore.adam(weight_decay=0.1, loss_scale=8.0)),
    "mindspore momentum": Composition(lambda: mindspore.momentum(0.1, 0.9)),
    "mindspore lazy adam": Composition(lambda: mindspore.lazy_adam(0.1), grads=rows),
    "mindspore ftrl": Composition(lambda: mindspore.ftrl(l1=0.1)),
}


def of_composition(c: Composition) -> Iterator[tuple[str, Callable[[], Any]]]:
    def update() -> Any:
        tx, params = c.make(), c.params()
        state = tx.init(params) if isinstance(tx, gx.GradientTransformation) else jax.eval_shape(tx.init, params)
        return jax.jit(tx.update).trace(params if c.grads is None else c.grads(), state, params, **c.extra)

    yield "init", lambda: jax.jit(c.make().init).trace(c.params())
    yield "update", update


def as_argument() -> Any:
    tx, params = clipped(), layer()
    return jax.jit(lambda tx, *given: tx.update(*given)).trace(tx, params, tx.init(params), params)


def donated() -> Any:
    tx, params = clipped(), layer()
    return gx.make_step(tx).trace(params, tx.init(params), params)


def vectorised() -> Any:
    tx, params = clipped(), layer()
    given = (params, tx.init(params), params)
    return jax.jit(jax.vmap(tx.update)).trace(*jax.tree.map(lambda x: struct((3, *x.shape), x.dtype), given))


def evaluated() -> Any:
    tx, params = gx.chain(gx.sgd(0.1), gx.ema_of_params(0.9)), layer()
    return jax.jit(lambda state, params: gx.eval_params(tx, state, params)).trace(tx.init(params), params)


def mapped() -> Any:
    """Each device with its own gradient, in `shard_map`."""
    tx, params = gx.chain(gx.mean_across("data"), clipped()), layer()

    def device(g: Any, state: Any, p: Any) -> Any:
        return tx.update(jax.tree.map(lambda x: x[0], g), state, p)

    f = jax.shard_map(device, mesh=devices(), in_specs=(P("data"), P(), P()), out_specs=P())
    each = jax.tree.map(lambda x: struct((8, *x.shape), x.dtype), params)
    return jax.jit(f).trace(each, tx.init(params), params)


def partly() -> Any:
    """A leaf that has no gradient, a frozen one and one of integers."""
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.freeze("scale"), gx.momentum(0.1))
    params = {**layer(), "steps": struct((), jnp.int32)}
    grads = {**layer(), "dense": {"kernel": struct((16, 24)), "bias": None}, "steps": None}
    return jax.jit(tx.update).trace(grads, tx.init(params), params)


BY_HAND = {f.__name__: f for f in (as_argument, donated, vectorised, evaluated, mapped, partly)}
"""What runs a transformation otherwise than as `jax.jit(tx.update)`."""
