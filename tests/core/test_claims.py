"""A rule of a user's own that looks farther than it says is found out where a strategy goes by what it says."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import gradxform as gx
from gradxform.core.claims import looks_farther
from gradxform.core.hyper import Given
from tests.strategies.meshes import line


class Kept(NamedTuple):
    x: Any


def rule(update: Any, init: Any = None, **facts: Any) -> Any:
    body = {"update": update, "facts": gx.Facts(**facts), "__annotations__": {"b": gx.Beta}, "b": 0.9}
    return type("Mine", (gx.Rule,), body | ({} if init is None else {"init": init}))()


FAR = {
    "mean": lambda self, g, s, p, k: (g - g.mean(), s),
    "norm": lambda self, g, s, p, k: (g / jnp.linalg.norm(g), s),
    "sum of others": lambda self, g, s, p, k: (jnp.cumsum(g, -1), s),
    "place": lambda self, g, s, p, k: (g * jnp.arange(g.shape[-1]), s),
    "chance": lambda self, g, s, p, k: (g + jax.random.normal(jax.random.key(0), g.shape), s),
    "neighbour": lambda self, g, s, p, k: (jnp.roll(g, 1, -1), s),
}
NEAR = {
    "same": lambda self, g, s, p, k: (g, s),
    "sign": lambda self, g, s, p, k: (jnp.sign(g) * jnp.abs(g) ** 0.3, s),
    "sum of its own": lambda self, g, s, p, k: (jnp.stack([g, g]).sum(0), s),
    "nothing": lambda self, g, s, p, k: (jnp.full_like(g, jnp.nan), s),
}


@pytest.mark.parametrize("update", FAR.values(), ids=FAR)
def test_it_looks_farther(update: Any) -> None:
    assert looks_farther(rule(update))
    assert looks_farther(gx.offloaded(gx.lift(rule(update))).stages[0].only_rule)
    assert not looks_farther(rule(update, reach=gx.Reach.ARRAY))


@pytest.mark.parametrize("update", NEAR.values(), ids=NEAR)
def test_it_does_not(update: Any) -> None:
    assert not looks_farther(rule(update))
    assert not looks_farther(rule(update, reach=gx.Reach.ROW))


def test_rows_memory_and_parameters() -> None:
    by_row = rule(lambda self, g, s, p, k: (g / (1 + g.sum(-1, keepdims=True)), s), reach=gx.Reach.ROW)
    by_column = rule(lambda self, g, s, p, k: (g - g.mean(0), s), reach=gx.Reach.ROW)
    assert (looks_farther(by_row), looks_farther(by_column)) == (False, True)

    def remembers(self: Any, g: Any, s: Any, p: Any, k: Any) -> Any:
        return g + s.x, Kept(self.b * s.x + g.mean())

    assert looks_farther(rule(remembers, lambda self, p: Kept(0 * p)))
    assert looks_farther(rule(lambda self, g, s, p, k: (g + p.sum(), s), needs_params=True))
    assert not looks_farther(rule(lambda self, g, s, p, k: (g + p, s), needs_params=True))


def test_what_cannot_be_tried_is_believed() -> None:
    assert not looks_farther(rule(lambda self, g, s, p, k: (g.reshape(7, 7) + 1, s)))
    assert not looks_farther(gx.adam(0.1).stages[0].only_rule)
    assert not looks_farther(rule(FAR["mean"]).with_fields(b=Given(0)))


def test_where_it_would_be_wrong_without_a_word_it_is_refused() -> None:
    tx, params = gx.lift(rule(FAR["mean"])), {"a": jnp.ones(8), "b": jnp.ones((8, 2))}
    with pytest.raises(ValueError, match=r"packed cannot join 'a' .*: mine says .* facts = Facts\(reach=Reach.ARRAY\)"):
        gx.packed(tx).init(params)
    with pytest.raises(ValueError, match="packed cannot join 'a'"):
        jax.jit(gx.packed(tx).init)(params)
    with pytest.raises(ValueError, match="lazy moves rows alone, and mine looks at more than a row"):
        gx.lazy(gx.lift(rule(lambda self, g, s, p, k: (g - g.mean(0), s))))
    mesh = line(AxisType.Auto)

    def inside(f: Any, spec: Any) -> Any:
        return jax.jit(jax.shard_map(f, mesh=mesh, in_specs=(spec,), out_specs=spec))

    with pytest.raises(ValueError, match="mine looks at more than one element of 'a'"):
        inside(lambda g: tx.update(g, tx.init(g))[0], PartitionSpec("data"))(params)
    split = gx.sharded(tx, mesh)
    with pytest.raises(ValueError, match="sharded cannot split 'a' inside shard_map: mine looks at more than one"):
        inside(lambda g: split.update(g, split.init(g))[0], PartitionSpec())(params)
    np.testing.assert_allclose(tx.update(params, tx.init(params))[0]["a"], 0.0)
