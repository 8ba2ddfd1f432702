"""A stage without memory moves no key of the state, wherever it is put."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.chain import Chain
from gradxform.core.stage import Stage
from tests.catalogue import ENTRIES, tree

GROUPS = [("bias", gx.chain(gx.add_decayed_weights(0.2), gx.add_decayed_weights(gx.tunable(0.1)), gx.trace(0.9)))]
CHAINS = {
    "tunable decay": (gx.scale_by_adam(), gx.add_decayed_weights(gx.tunable(0.1)), gx.sgd(gx.tunable(0.01))),
    "two of a name": (gx.trace(0.9), gx.trace(0.5), gx.scale(gx.tunable(2.0)), gx.scale(gx.tunable(3.0))),
    "a rate twice": (gx.sgd(gx.tunable(0.1)), gx.average_schedule_free(gx.tunable(0.1)), gx.round_updates("kahan")),
    "the whole tree": (gx.clip_by_percentile(), gx.clip_by_global_norm(gx.tunable(1.0)), gx.sign_sgd(0.1)),
    "groups": (gx.groups(GROUPS, gx.trace(0.5)), gx.add_decayed_weights(gx.tunable(0.3)), gx.trace(0.9)),
    "two masks": (gx.masked(gx.scale(gx.tunable(2.0)), "bias"), gx.masked(gx.scale(gx.tunable(3.0)), "kernel")),
    "a wrapper": (gx.measure(gx.sgd(gx.tunable(0.1)), grad_norm=True), gx.scale(gx.tunable(0.5)), gx.trace(0.9)),
    "packed": (gx.packed(gx.chain(gx.scale(gx.tunable(2.0)), gx.trace(0.9))), gx.trace(0.5)),
}  # fmt: skip


def keys(tx: Any) -> list[str]:
    return [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tx.init(tree(0)))]


STAGES: dict[str, tuple[Stage, ...]] = {
    e.name: e.tx.stages
    for e in ENTRIES
    if isinstance(e.tx, Chain) and e.tx.stages and e.name != "freeze" and len(keys(e.tx)) == 1
}
"""What in the catalogue keeps nothing but the counter, but for what takes leaves out of the chain."""
STAGES["masked decays"] = gx.masked(gx.chain(gx.add_decayed_weights(0.2), gx.scale(0.5)), "bias").stages


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_a_stage_without_memory_moves_no_key(chain: Any) -> None:
    stages = gx.chain(*chain).stages
    expected, refused = keys(Chain(stages)), 0
    for name, added in STAGES.items():
        for i in range(len(stages) + 1):
            try:
                found = keys(Chain((*stages[:i], *added, *stages[i:])))
            except ValueError as error:
                assert re.search("turn the sign|unscale goes first", str(error))  # noqa: PT017
                refused += 1
                continue
            assert found == expected, f"{name} at {i}"
    assert refused < 0.3 * len(STAGES) * (len(stages) + 1)


def test_those_that_keep_nothing_are_many() -> None:
    assert {
        "add_decayed_weights",
        "clip_by_global_norm",
        "scale",
        "masked decays",
        "proximal_box",
        "sgd",
    } <= STAGES.keys()


@pytest.mark.parametrize("wrap", [lambda tx: tx, jax.jit], ids=["unjitted", "jitted"])
def test_the_later_tunable_is_found_set_and_used(wrap: Any) -> None:
    """u = g + 0.2 p + w p, with w = 0.1 and then 0.5."""
    tx = gx.chain(gx.add_decayed_weights(0.2), gx.add_decayed_weights(gx.tunable(0.1)))
    p, g = jnp.asarray([2.0, -4.0]), jnp.zeros(2)
    state, update = tx.init(p), wrap(tx.update)
    np.testing.assert_allclose(update(g, state, p)[0], [0.6, -1.2], rtol=1e-6)
    state = gx.with_hyperparams(state, tx=tx, weight_decay=0.5)
    np.testing.assert_allclose(update(g, state, p)[0], [1.4, -2.8], rtol=1e-6)
    found = gx.hyperparams(tx, state)
    assert {key: round(float(x), 6) for key, x in found.items()} == {
        "weight_decay": 0.5,
        "weight_decay_2/weight_decay": 0.2,
    }
    with pytest.raises(ValueError, match="weight_decay is out of range"):
        gx.with_hyperparams(state, tx=tx, weight_decay=-1.0)


def test_every_stage_of_every_group_acts() -> None:
    """Two masks of one name with a decay each, without memory and tunable: `u = g + 0.2 p` and then `+ 0.1 p`."""
    tx = gx.chain(
        gx.masked(gx.add_decayed_weights(0.2), "a"), gx.masked(gx.add_decayed_weights(gx.tunable(0.1)), "a|b")
    )
    p = {"a": jnp.ones(2), "b": jnp.ones(2)}
    for update in (tx.update, jax.jit(tx.update)):
        u, _ = update(jax.tree.map(jnp.zeros_like, p), tx.init(p), p)
        np.testing.assert_allclose(u["a"], [0.3, 0.3], rtol=1e-6)
        np.testing.assert_allclose(u["b"], [0.1, 0.1], rtol=1e-6)
