"""States where they do not belong: of other entries of the catalogue, and with one thing about them changed."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.catalogue import ENTRIES, Entry, tree
from tests.soak.compositions import kinds, refusal

PAIRS = len(ENTRIES) ** 2


@functools.cache
def shapes(name: str) -> Any:
    entry = next(e for e in ENTRIES if e.name == name)
    return jax.eval_shape(entry.tx.init, tree(0))


def verdict(entry: Entry, state: Any) -> str:
    """`taken` if it has the form of one's own, `refused` in words if not, or a sentence about what is wrong."""
    fits = kinds(state) == kinds(shapes(entry.name))
    try:
        jax.eval_shape(entry.update, tree(1), state, tree(0))
    except Exception as error:
        wrong = refusal(error)
        return f"refused though it fits: {error}" if fits else wrong or "refused"
    return "taken" if fits else "taken though it does not fit"


def pairs(seed: int, count: int = 400) -> Counter[str]:
    """The next ordered pairs, in an order that is the same for every run; after the last the first come again."""
    order = np.random.default_rng(0).permutation(PAIRS)
    seen: Counter[str] = Counter()
    for i in range(seed * count, (seed + 1) * count):
        mine, other = divmod(int(order[i % PAIRS]), len(ENTRIES))
        said = verdict(ENTRIES[mine], shapes(ENTRIES[other].name))
        assert said in ("taken", "refused"), f"{ENTRIES[mine].name} with the state of {ENTRIES[other].name}: {said}"
        seen[said] += 1
    return seen


def changed(state: Any, rng: Any) -> tuple[str, Any]:
    """One leaf of a state with another shape, dtype or axis, or gone."""
    leaves, structure = jax.tree.flatten(state)
    at = int(rng.integers(len(leaves)))
    x, what = leaves[at], str(rng.choice(["longer", "shorter", "axis", "dtype", "none"]))
    size = x.shape or (1,)
    leaves[at] = {
        "longer": jax.ShapeDtypeStruct((size[0] + 1, *size[1:]), x.dtype),
        "shorter": jax.ShapeDtypeStruct((size[0] - 1, *size[1:]), x.dtype),
        "axis": jax.ShapeDtypeStruct((1, *x.shape), x.dtype),
        "dtype": jax.ShapeDtypeStruct(x.shape, jnp.int8 if x.dtype != jnp.int8 else jnp.float32),
        "none": None,
    }[what]
    return what, structure.unflatten(leaves)


def imported(seed: int, count: int = 100) -> Counter[str]:
    """States of random entries with one thing changed."""
    rng = np.random.default_rng(seed)
    seen: Counter[str] = Counter()
    while seen.total() < count:
        entry = ENTRIES[int(rng.integers(len(ENTRIES)))]
        if not jax.tree.leaves(shapes(entry.name)):
            continue
        what, state = changed(shapes(entry.name), rng)
        try:
            jax.eval_shape(entry.update, tree(1), state, tree(0))
        except Exception as error:
            wrong = refusal(error)
            assert wrong is None, f"{entry.name}, a leaf of the state {what}: {wrong}"
            seen["refused"] += 1
            continue
        raise AssertionError(f"{entry.name} takes a state with a leaf changed: {what}")
    return seen
