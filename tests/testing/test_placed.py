from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

import gradxform as gx
from gradxform.testing import placed
from gradxform.testing.case import Case, DoesNotApplyError

SHAPES = jax.eval_shape(lambda: {"w": jnp.zeros((4, 3))})


class NotHomogeneous(gx.Rule):
    facts = gx.Facts(homogeneous=True)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return jnp.sign(g), s


def test_facts_that_are_not_so():
    (sentence,) = placed.told_facts(Case(gx.lift(NotHomogeneous()), SHAPES, {}))
    assert "twice the gradient is not twice the update" in sentence
    assert [*placed.told_facts(Case(gx.scale_by_adam(), SHAPES, {}))] == []


def test_a_pair_that_takes_any_state():
    tx = gx.GradientTransformation(lambda p: jnp.zeros(()), lambda g, s, p=None: (g, s))
    (sentence,) = placed.foreign_states(Case(tx, SHAPES, {}))
    assert "takes the state of chain(scale_by_adam" in sentence


def test_what_a_strategy_refuses_does_not_apply():
    with pytest.raises(DoesNotApplyError, match="refused: packed works on transformations made of rules"):
        next(placed.joined(Case(gx.guard(gx.sgd(0.1)), SHAPES, {})))
