"""States on disk and in other hands: orbax, pickle, NumPy's files. What comes back goes on bit for bit."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chex
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

import gradxform as gx
from tests.catalogue import tree

MAKERS: dict[str, Callable[[], Any]] = {
    "identity": gx.chain,
    "sgd": lambda: gx.sgd(0.1),
    "clipped adamw": lambda: gx.chain(
        gx.clip_by_global_norm(1.0), gx.adamw(gx.cosine_decay_schedule(0.1, 10), mask=gx.named("kernel"))
    ),
    "narrow lion": lambda: gx.lion(0.1, mu_dtype=jnp.bfloat16),
    "tunable": lambda: gx.momentum(gx.tunable(0.1), gx.tunable(0.5)),
    "groups": lambda: gx.groups([("kernel", gx.adam(0.1), "first")], default=gx.sgd(gx.tunable(0.1))),
    "measured": lambda: gx.measure(gx.adamax(0.1), update_norm=True, update_ratio="per_leaf"),
    "averaged": lambda: gx.chain(gx.freeze("bias"), gx.sgd(0.1), gx.ema_of_params(0.5)),
    "with optax": lambda: gx.chain(gx.trace(0.5), optax.adam(0.1), gx.ema(0.5)),
}


def parameters(name: str) -> Any:
    """One of them in bfloat16, except for optax, whose moments change their dtype at the first step then."""
    p = tree(0)
    kernel = p["dense"]["kernel"].astype(jnp.float32 if name == "with optax" else jnp.bfloat16)
    return {**p, "dense": {**p["dense"], "kernel": kernel}}


def walk(tx: Any, params: Any, state: Any, steps: range) -> tuple[Any, Any]:
    for i in steps:
        updates, state = jax.jit(tx.update)(tree(i + 1), state, params)
        params = gx.apply_updates(params, updates)
    return params, state


def through_pickle(saved: Any, fresh: Any, folder: Path) -> Any:
    (folder / "saved").write_bytes(pickle.dumps(saved))
    return pickle.loads((folder / "saved").read_bytes())


def through_copy(saved: Any, fresh: Any, folder: Path) -> Any:
    return copy.deepcopy(saved)


def through_numpy(saved: Any, fresh: Any, folder: Path) -> Any:
    """One array a leaf, by position; bfloat16 as its bits, for `npz` knows it not."""
    leaves, structure = jax.tree.flatten(saved)
    bits = [np.asarray(x).view(np.uint16) if x.dtype == jnp.bfloat16 else np.asarray(x) for x in leaves]
    np.savez(folder / "saved.npz", *bits)
    with np.load(folder / "saved.npz") as file:
        read = [file[f"arr_{i}"] for i in range(len(leaves))]
    return structure.unflatten([x.view(leaf.dtype) for x, leaf in zip(read, leaves, strict=True)])


def through_msgpack(saved: Any, fresh: Any, folder: Path) -> Any:
    return flax.serialization.from_bytes(fresh, flax.serialization.to_bytes(saved))


def through_orbax(saved: Any, fresh: Any, folder: Path) -> Any:
    """Restored into the shapes that `init` gives of shapes: nothing is allocated twice."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "saved", saved)
        checkpointer.wait_until_finished()
        return checkpointer.restore(folder / "saved", jax.tree.map(ocp.utils.to_shape_dtype_struct, fresh))


def through_orbax_pytree(saved: Any, fresh: Any, folder: Path) -> Any:
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(folder / "saved", saved)
        args = ocp.checkpoint_utils.construct_restore_args(fresh)
        return checkpointer.restore(folder / "saved", item=fresh, restore_args=args)


TRIPS = [through_pickle, through_copy, through_numpy, through_msgpack, through_orbax, through_orbax_pytree]


@pytest.mark.parametrize("trip", TRIPS)
@pytest.mark.parametrize("name", MAKERS)
def test_what_comes_back_goes_on_bit_for_bit(name: str, trip: Callable[..., Any], tmp_path: Path) -> None:
    tx = MAKERS[name]()
    start = parameters(name)
    saved = walk(tx, start, tx.init(start), range(2))
    params, state = trip(saved, (start, tx.init(start)), tmp_path)
    assert jax.tree.structure(state) == jax.tree.structure(saved[1])
    chex.assert_trees_all_equal_shapes_and_dtypes((params, state), saved)
    chex.assert_trees_all_equal((params, state), saved)
    restored, expected = walk(tx, params, state, range(2, 4)), walk(tx, *saved, range(2, 4))
    chex.assert_trees_all_equal(restored, expected)


def test_orbax_by_names_alone(tmp_path: Path) -> None:
    """Without a target it gives plain dictionaries and lists: one parameter's statistics are found by its path."""
    tx, start = gx.adam(0.1), tree(0)
    _, state = walk(tx, start, tx.init(start), range(2))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "saved", state)
        checkpointer.wait_until_finished()
        plain = checkpointer.restore(tmp_path / "saved")
    kept = plain["leaves"]["dense"]["kernel"]["adam"]
    np.testing.assert_array_equal(kept["nu"], state.leaves["dense"]["kernel"]["adam"].nu)
    assert plain["count"] == 2


def test_transformations_themselves_go_through_pickle() -> None:
    for name in ("sgd", "clipped adamw", "narrow lion", "tunable", "groups", "measured", "averaged"):
        tx = MAKERS[name]()
        again = pickle.loads(pickle.dumps(tx))
        assert again == tx
        assert hash(again) == hash(tx)
        assert again.update == tx.update
        assert copy.deepcopy(tx) == tx
