from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import gradxform as gx
from gradxform.testing import alone
from gradxform.testing.case import Case

SHAPES = jax.eval_shape(lambda: {"w": jnp.zeros((4, 3)), "v": jnp.zeros((4, 3))})


class Looks(gx.Rule):
    """A rule that reads what is `of` the array, with the reach that it claims."""

    of: Any = None
    facts = gx.Facts(reach=gx.Reach.ELEMENT)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return g * self.of(g), s


def test_how_far_a_rule_looks_is_found_where_permutations_do_not_show_it():
    """A sum of exact numbers is the same in any order; another row, or column, has another one."""
    whole = lambda x: jnp.round(4 * x).sum()  # noqa: E731
    for of, found in {
        whole: "reach=gx.Reach.ARRAY",
        lambda x: jnp.round(4 * x).sum(-1, keepdims=True): "reach=gx.Reach.ROW",
        lambda x: jnp.arange(12.0).reshape(4, 3): "reach=gx.Reach.ARRAY",
        jnp.abs: None,
    }.items():
        sentences = [*alone.reach(Case(gx.lift(Looks(of)), SHAPES, {}))]
        assert (found is None and sentences == []) or found in sentences[0]
