"""What goes downhill by itself has turned the sign: with a second optimizer behind it, it is refused."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

import gradxform as gx
from tests.catalogue import Entry, entries, tree

P, G = tree(0), jax.tree.map(lambda x: jnp.where(jnp.abs(x) < 0.1, 0.1, x), tree(5))


def descends(tx: Any, update: Any, steps: int = 3) -> bool:
    """Whether the last update of a few with one gradient has a negative product with it: accumulation acts late."""
    state = tx.init(P)
    for _ in range(steps):
        u, state = update(G, state, P)
    return sum(float(jnp.sum(a * b)) for a, b in zip(jax.tree.leaves(u), jax.tree.leaves(G), strict=True)) < 0


def refuse(tx: Any) -> None:
    with pytest.raises(ValueError, match=r"two stages that turn the sign, and would go uphill: .*flip_sign=False"):
        gx.chain(tx, gx.sgd(0.1)).init(P)


@entries(lambda entry: entry.function != "scale")
def test_an_optimizer_behind_one_that_descends_is_refused(entry: Entry) -> None:
    """`scale` has the sign that its user gives it."""
    if descends(entry.tx, entry.run):
        refuse(entry.tx)
