"""A state that an earlier version saved goes on here as it went on there."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.blocks import Blocks
from gradxform.core.state import is_memory
from tests.checkpoints import files
from tests.checkpoints.chains import (
    CHAINS,
    RELAID,
    ROUNDING,
    SAVED_AFTER,
    STEPS,
    WITHOUT_POWERS,
    Kept,
    parameters,
    train,
)


def from_numpy(name: str, fresh: Any) -> Any:
    found, _ = files.read_arrays(files.DATA / f"{name}.npz")
    return {what: files.put_arrays(found[what], fresh[what]) for what in fresh}


def from_flax(name: str, fresh: Any) -> Any:
    return files.read_flax(files.DATA / f"{name}.msgpack", fresh)


def from_orbax(name: str, fresh: Any) -> Any:
    return files.read_orbax(files.DATA / f"{name}.orbax", fresh)


FORMATS = {"npz": from_numpy, "msgpack": from_flax, "orbax": from_orbax}
CASES = [
    pytest.param(name, read, id=f"{name}-{suffix}")
    for name in CHAINS
    for suffix, read in FORMATS.items()
    if suffix == "npz" or (files.DATA / f"{name}.{suffix}").exists()
]


@functools.cache
def begun(name: str) -> tuple[Any, Any, Any]:
    """The transformation of a chain, its parameters, and its first state."""
    tx, params = CHAINS[name].make(), parameters(name)
    return tx, params, jax.jit(tx.init)(params)


def assert_recorded(tree: Any, expected: dict[str, Any], tolerance: Callable[[str], float], what: str) -> None:
    """The same paths, dtypes, shapes and bits; numbers off by a part of the largest where a tolerance is given."""
    actual = files.arrays_of(tree)
    assert list(actual) == list(expected), what
    for path, old in expected.items():
        new, where = actual[path], f"{what}{path}"
        assert (new.dtype, new.shape) == (old.dtype, old.shape), where
        if tolerance(where) and new.size and new.dtype != bool:
            a, b = np.asarray(new, np.float64), np.asarray(old, np.float64)
            # A remainder of 16 bits counts ulps of its parameter.
            largest = 1 / ROUNDING if new.dtype == np.int16 else np.abs(b[np.isfinite(b)]).max(initial=0)
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance(where) * largest, err_msg=where)
        else:
            np.testing.assert_array_equal(files.bits(new), files.bits(old), err_msg=where)


MADE_OF_UPDATES = re.compile(r"^(updates|params)|\.(z|remainder|master|metrics)\b")


def tolerance(kept: Kept, written_by: dict[str, Any], where: str) -> float:
    """0, or a few ulps where norms or Adam's fraction go in, with the writer's JAX on a processor like the writer's.

    One that does not fuse multiply-adds as the writer's did rounds otherwise. (Tried: the bits are the same for AVX2
    and AVX-512, not so without FMA.)
    """
    ulps = max(kept.ulps, kept.steps if MADE_OF_UPDATES.search(where) else 0)
    if rounding(written_by) == rounding(files.compiler()):
        return ulps * ROUNDING
    return max(ulps * ROUNDING, kept.elsewhere)


def rounding(compiler: dict[str, Any]) -> tuple[Any, ...]:
    return compiler["jax"], compiler["machine"], "fma" in compiler["vectors"].split()


@pytest.mark.parametrize(("name", "read"), [case for case in CASES if case.values[0] not in RELAID + WITHOUT_POWERS])
def test_a_saved_state_goes_on_as_it_did(name: str, read: Callable[[str, Any], Any]) -> None:
    kept, (tx, start, first) = CHAINS[name], begun(name)
    recorded, written_by = files.read_arrays(files.DATA / f"{name}.npz")
    fresh = {"params": start, "state": first}
    assert list(files.arrays_of(fresh["state"])) == list(recorded["state"])
    loaded, within = read(name, fresh), functools.partial(tolerance, kept, written_by)
    for what, tree in loaded.items():
        assert_recorded(tree, recorded[what], lambda where: 0.0, what)
    for i, step in enumerate(train(name, tx, **loaded, steps=range(SAVED_AFTER + 1, STEPS + 1)), SAVED_AFTER + 1):
        for what, tree in step.items():
            assert_recorded(tree, recorded[f"{what} {i}"], within, f"{what} {i}")


class Pair(NamedTuple):
    """Codes as they were kept, with a scale for every 128 elements of the last axis."""

    codes: Any
    scales: Any


@pytest.mark.parametrize(("name", "read"), [case for case in CASES if case.values[0] in RELAID])
def test_codes_that_lay_otherwise_are_read_by_migrate(name: str, read: Callable[[str, Any], Any]) -> None:
    tx, start, first = begun(name)
    recorded, _ = files.read_arrays(files.DATA / f"{name}.npz")

    def is_blocks(x: Any) -> bool:
        return isinstance(x, Blocks | Pair)

    pairs = jax.tree.map(lambda x: Pair(*x[:2]) if is_blocks(x) else x, first, is_leaf=is_blocks)
    loaded = read(name, {"params": start, "state": files.put_arrays(recorded["state"], pairs)})
    old = jax.tree.map(lambda x: Blocks(*x) if is_blocks(x) else x, loaded["state"], is_leaf=is_blocks)
    state, report = gx.migrate(old, tx, loaded["params"])
    assert not report.fresh
    assert not report.dropped
    within = 0.15 if name == "stored_int4" else 0.05  # of 7 codes one is coarser
    for i, step in enumerate(
        train(name, tx, loaded["params"], state, range(SAVED_AFTER + 1, STEPS + 1)), SAVED_AFTER + 1
    ):
        after = files.arrays_of(step["params"])
        for path, x in after.items():
            was, then = recorded["params"][path], recorded[f"params {i}"][path]
            assert np.abs(x - then).mean() <= within * np.abs(then - was).mean(), path


class Means(NamedTuple):
    """MindSpore's Adam as it was kept, without powers."""

    mu: Any
    nu: Any


@pytest.mark.parametrize(("name", "read"), [case for case in CASES if case.values[0] in WITHOUT_POWERS])
def test_powers_that_were_not_kept_are_told_by_the_counter(name: str, read: Callable[[str, Any], Any]) -> None:
    kept, (tx, start, fresh) = CHAINS[name], begun(name)
    recorded, written_by = files.read_arrays(files.DATA / f"{name}.npz")
    old = jax.tree.map(lambda m: {k: Means(*s[:2]) for k, s in m.items()}, fresh.leaves, is_leaf=is_memory)
    loaded = read(name, {"params": start, "state": fresh._replace(leaves=old)})
    state, report = gx.migrate(loaded["state"], tx, loaded["params"])
    assert not report.dropped
    assert all("power" in place for place in report.fresh)
    steps = train(name, tx, loaded["params"], state, range(SAVED_AFTER + 1, STEPS + 1))
    for i, step in enumerate(steps, SAVED_AFTER + 1):
        within = functools.partial(tolerance, kept._replace(ulps=8), written_by)  # the powers are rounded in turn
        assert_recorded(step["params"], recorded[f"params {i}"], within, f"params {i}")


def test_every_chain_has_its_checkpoint_and_every_checkpoint_its_chain() -> None:
    assert {path.stem for path in files.DATA.iterdir()} == set(CHAINS)
