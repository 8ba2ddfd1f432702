"""Arguments that optax takes and that mean "no bound", "nothing", or "one more": ours take them, to the same end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests.arguments import kind_of, parameters, public_functions

P = {"a": jnp.asarray([1.0, 2.0, -3.0]), "b": jnp.asarray(0.5)}
G = {"a": jnp.asarray([0.1, -0.2, 0.3]), "b": jnp.asarray(0.7)}
REFUSED = {"eps", "eps_root", "initial_scale", "initial_accumulator_value", "eta_minus", "eta_plus", "min_step_size",
           "b1", "b2", "decay_rate", "min_scale", "max_step_size", "smooth_beta"}  # fmt: skip
"""Where optax takes infinity and does something else with it: no step at all, decay alone, NaN, or nothing."""
BESIDE = {"adafactor": {"learning_rate": 0.1}}
"""Where the two mean different things by None."""
NEEDED = {"learning_rate": 0.1, "decay": 0.9, "step_size": 0.5, "weight_decay": 0.1, "rho": 0.9}


def steps(tx: Any) -> np.ndarray:
    """The parameters after two steps, added without rounding of their own."""
    params, state = P, tx.init(P)
    for _ in range(2):
        updates, state = tx.update(G, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(params)])


def trains(make: Any, kwargs: dict[str, Any]) -> bool:
    try:
        found = steps(make(**kwargs))
    except Exception:
        return False
    return bool(np.isfinite(found).all() and (found != steps(optax.set_to_zero())).any())


def takes_infinity() -> Iterator[Any]:
    """The hyperparameters, under names that both libraries have, which optax takes as infinite and still trains."""
    for name, theirs in vars(optax).items():
        for p in parameters(theirs) if name in public_functions() else ():
            kind, needed = kind_of(name, p.name), {q.name for q in parameters(theirs) if q.default is q.empty}
            kwargs = {**{key: NEEDED.get(key) for key in needed}, **BESIDE.get(name, {}), p.name: math.inf}
            if kind is not None and kind.hyper and p.name not in REFUSED and trains(theirs, kwargs):
                yield pytest.param(name, kwargs, id=f"{name}-{p.name}")


@pytest.mark.parametrize(("name", "kwargs"), list(takes_infinity()))
def test_an_infinite_bound_bounds_nothing(name: str, kwargs: dict[str, Any]) -> None:
    np.testing.assert_allclose(steps(getattr(gx, name)(**kwargs)), steps(getattr(optax, name)(**kwargs)), rtol=1e-6)


@pytest.mark.parametrize("max_norm", [math.inf, [math.inf], gx.tunable(math.inf)], ids=["number", "table", "tunable"])
@pytest.mark.parametrize(
    "clip", [gx.clip, gx.clip_by_norm, gx.clip_by_block_rms, gx.clip_by_global_norm, gx.adaptive_grad_clip]
)
def test_an_infinite_bound_passes_what_has_no_finite_norm(clip: Any, max_norm: Any) -> None:
    g, tx = jnp.asarray([1e20, 3.0, -jnp.inf]), clip(max_norm)
    np.testing.assert_array_equal(tx.update(g, tx.init(g), jnp.ones(3))[0], g)
    np.testing.assert_array_equal(tx.update(0 * jnp.ones(3), tx.init(g), jnp.ones(3))[0], jnp.zeros(3))


@pytest.mark.parametrize(
    "search",
    [
        lambda lib: lib.scale_by_backtracking_linesearch(10, max_learning_rate=math.inf),
        lambda lib: lib.scale_by_zoom_linesearch(10, max_learning_rate=math.inf),
    ],
)
def test_an_infinite_learning_rate_bounds_no_search(search: Any) -> None:
    def f(p: Any) -> Any:
        return jnp.sum((p - 3.0) ** 2)

    def after(lib: Any, params: Any) -> Any:
        tx = lib.chain(lib.sgd(1.0), search(lib))
        state = tx.init(params)
        for _ in range(4):
            value, grad = jax.value_and_grad(f)(params)
            updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=f)
            params = lib.apply_updates(params, updates)
        return params

    np.testing.assert_allclose(after(gx, jnp.ones(2)), after(optax, jnp.ones(2)), rtol=1e-6)


def test_a_search_begins_somewhere() -> None:
    with pytest.raises(ValueError, match="max_learning_rate must be finite where increase_factor is not, got inf"):
        gx.scale_by_backtracking_linesearch(5, increase_factor=math.inf, max_learning_rate=math.inf)


def test_no_learning_rate_is_no_scaling_and_no_optimizer() -> None:
    for tx in (
        gx.scale_by_learning_rate(None),
        gx.scale_by_learning_rate(),
        gx.scale_by_learning_rate(flip_sign=False),
    ):
        np.testing.assert_array_equal(steps(tx), steps(optax.scale_by_learning_rate(None)))
    for make in (gx.sgd, gx.adam, gx.lion, gx.lamb, gx.rmsprop, gx.proximal_sgd, gx.polyak_sgd):
        with pytest.raises((TypeError, ValueError), match="learning_rate"):
            make(None)
    with pytest.raises(ValueError, match=r"learning_rate must be at least 0 and finite, got -0\.1"):
        gx.scale_by_learning_rate(-0.1)
