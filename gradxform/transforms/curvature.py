"""Estimates of the diagonal of the Hessian, for the optimizers that take one as an extra tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import cast, compute_dtype
from gradxform.core.keys import LeafKey, kept_key, words_of
from gradxform.core.plain import got
from gradxform.core.tree import is_trained, open_tree, parameter, without_functions
from gradxform.core.types import Array, Count, Key, Loss, Params, Tree


def hutchinson(loss_fn: Loss, params: Params, key: Key, *, count: Count = None, every: int = 1) -> Tree:
    """Estimate the diagonal of the Hessian by one product with random signs v: `h = v * (H·v)`, whose mean it is.

    For `sophia` and `adahessian`, as `hessian=` at update; it costs a second gradient. It may be negative.
    loss_fn: `params -> loss`. key: an integer or a JAX key; a leaf draws by its path. count: the steps done, such
    as `state.count`: folded into the key. every: zeros, at no cost, where count is no multiple of it: the
    update_interval of `sophia`, which does not read them; `adahessian` would. The estimate is float32 or wider.
    Raises: TypeError if loss_fn is no function, or every more than 1 and count None.
    Source: Hutchinson 1989; Yao et al. 2020, arXiv:2006.00719, equation 9.
    """

    def estimate(keys: list[LeafKey], xs: list[Array], loss: Callable[[list[Array]], Array]) -> list[Array]:
        vs = [jax.random.rademacher(k.folded(), x.shape, x.dtype) for k, x in zip(keys, xs, strict=True)]
        products = jax.jvp(jax.grad(loss), (xs,), (vs,))[1]
        return [v * cast(product, compute_dtype(v.dtype)) for v, product in zip(vs, products, strict=True)]

    return _estimated(estimate, lambda out, _: out, "loss_fn", loss_fn, params, key, count, every)


def gauss_newton_bartlett(logits_fn: Loss, params: Params, key: Key, *, count: Count = None, every: int = 1) -> Tree:
    """Estimate the diagonal of the Gauss-Newton matrix of a cross entropy: `h = n·g²`, never negative.

    g is the gradient of the mean over n examples or tokens, with labels drawn from the model. For `sophia`.
    logits_fn: `params -> logits`, the classes on the last axis. key, count, every: as in `hutchinson`.
    Raises: as `hutchinson`.
    Source: Liu et al. 2023, arXiv:2305.14342, algorithm 2.
    """

    def entropy(logits: Array, key: LeafKey) -> tuple[Array, int]:
        if not jnp.ndim(logits):
            raise ValueError("logits_fn must give logits with the classes on the last axis, got a scalar")
        labels = jax.random.categorical(key.folded(), jax.lax.stop_gradient(logits))
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], axis=-1)
        return -jnp.mean(chosen), labels.size

    def estimate(_: list[LeafKey], xs: list[Array], loss: Callable[[list[Array]], tuple[Array, int]]) -> list[Array]:
        grads, n = jax.grad(loss, has_aux=True)(xs)
        wide = [cast(g, compute_dtype(g.dtype)) for g in grads]
        return [n * g * g for g in wide]

    return _estimated(estimate, entropy, "logits_fn", logits_fn, params, key, count, every)


def _estimated(
    estimate: Callable[..., list[Array]],
    of_output: Callable[[Any, LeafKey], Any],
    name: str,
    f: Loss,
    params: Params,
    key: Key,
    count: Count,
    every: int,
) -> Tree:
    """An estimate for the leaves of params that are trained, None for the others; zeros where it is not due."""
    if not callable(f):
        raise TypeError(f"{name} must be a function, {got(f)}")
    check.integer(1, every=every)
    counts = isinstance(count, jax.Array) and not count.shape and jnp.issubdtype(count.dtype, jnp.integer)
    if count is not None and not counts:
        check.integer(count=count)
    if count is None and every > 1:
        raise TypeError(f"every={every} needs count, the number of steps done, such as state.count")
    whole = LeafKey(kept_key("key", key), (), count)
    paths, leaves, structure = open_tree(without_functions(params))
    leaves = [parameter(path, x) for path, x in zip(paths, leaves, strict=True)]
    others = open_tree(params)[1]
    trained = [i for i, x in enumerate(leaves) if is_trained(x)]

    def objective(xs: list[Array]) -> Any:
        new = dict(zip(trained, xs, strict=True))
        return of_output(f(structure.unflatten([new.get(i, x) for i, x in enumerate(others)])), whole)

    xs, keys = [leaves[i] for i in trained], [whole._replace(words=words_of(paths[i])) for i in trained]
    found: Any = estimate
    if every == 1:
        found = estimate(keys, xs, objective)
    else:
        due = jnp.asarray(count) % every == 0
        wide = [compute_dtype(x.dtype) for x in xs]
        found = jax.lax.cond(due, lambda: estimate(keys, xs, objective), lambda: [*map(jnp.zeros_like, xs, wide)])
    made = dict(zip(trained, found, strict=True))
    return structure.unflatten([made.get(i) for i in range(len(leaves))])
