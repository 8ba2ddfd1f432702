"""Transformations reach other processes, as launchers of parallel runs send them."""

from __future__ import annotations

import copy
import functools
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import gradxform.compat.optax as optax
from gradxform.compat.optax.remade import Remade
from tests.compat.optax.test_stages import assert_same

P = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}


class Kept(Remade):
    def __init__(self, x: int, *rest: int) -> None:
        self.x, self.rest = x, rest
        self.doubled = functools.lru_cache(lambda: 2 * x)


def test_it_is_made_again_by_the_same_call() -> None:
    again = copy.deepcopy(Kept(3, 4))
    assert (again.x, again.rest, again.doubled()) == (3, (4,), 6)


def matrices(params: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim > 1, params)


@pytest.mark.parametrize("name", ["masked", "injected"])
def test_what_is_sent_steps_as_what_was(name: str) -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    rate = optax.cosine_decay_schedule(0.1, 10)
    tx = {
        "masked": lambda: optax.chain(optax.contrib.normalize(), optax.adamw(rate, mask=matrices)),
        "injected": lambda: optax.inject_hyperparams(optax.adam)(learning_rate=rate),
    }[name]()
    sent = cloudpickle.loads(cloudpickle.dumps(tx))
    ends = [jax.jit(each.update)(P, each.init(P), P) for each in (tx, sent)]
    assert_same(*ends, 0)
