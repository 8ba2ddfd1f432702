"""Numbers of every size: zeros, denormals, the largest of a dtype, and counters at their end."""

from __future__ import annotations

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.testing.laws import figures, spoilt
from tests.catalogue import ENTRIES, Entry, tree, with_own
from tests.trajectories import double

DTYPES = (jnp.float32, jnp.bfloat16, jnp.float16)


def drawn(rng: Any, dtype: Any, least: float, most: float) -> Any:
    """Leaves of one size each, with some zeros, denormals and, where `most` allows, the dtype's largest among them."""
    finfo = jnp.finfo(dtype)
    special = [0.0, float(finfo.smallest_subnormal), float(finfo.tiny), *[float(finfo.max)] * (most > 37)]

    def leaf(x: Any) -> Any:
        size = 10.0 ** rng.uniform(max(least, np.log10(float(finfo.tiny))), min(most, np.log10(float(finfo.max))))
        values = np.clip(rng.standard_normal(x.shape) * size, -float(finfo.max), float(finfo.max))
        values = np.where(rng.random(x.shape) < 0.1, rng.choice(special, x.shape), values)
        return jnp.asarray(values, dtype)

    return jax.tree.map(leaf, tree(0))


def too_large(entry: Entry, gs: list[Any], p: Any, dtype: Any) -> bool:
    """Whether an update, or the parameters with it, is out of the dtype's range in float64 too."""
    with double():
        gs, p = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), (gs, p))
        state, sizes = entry.tx.init(p), []
        for g in gs:
            u, state = entry.update(g, state, p)
            sizes += [np.abs(x).max() for x in jax.tree.leaves((u, jax.tree.map(jnp.add, p, u)))]
    return not max(sizes) <= float(jnp.finfo(dtype).max)


def soak(seed: int, entries: int = 3, draws: int = 20) -> Counter[str]:
    """Three gradients of any size, from parameters of any size that can be squared, for some entries and a dtype."""
    rng = np.random.default_rng(seed)
    seen: Counter[str] = Counter()
    for entry in rng.choice(len(ENTRIES), entries, replace=False):
        entry, dtype = ENTRIES[int(entry)], DTYPES[int(rng.integers(len(DTYPES)))]
        for _ in range(draws):
            p = drawn(rng, dtype, -45, 15)
            state = entry.tx.init(p)
            start = figures(state)
            if rng.random() < 0.3:
                state = with_own(state, count=jnp.asarray(2**31 - 1 - rng.integers(3), jnp.int32))
            gs = [drawn(rng, dtype, -45, 39) for _ in range(3)]
            for i, g in enumerate(gs):
                u, state = entry.run(g, state, p)
                wrong = spoilt(figures(state), start) + spoilt(figures(u), figures(p))
                if wrong and too_large(entry, gs[: i + 1], p, dtype):
                    seen["steps beyond the dtype"] += 1
                    break
                assert not wrong, f"{entry.name} in {dtype.__name__}, step {i}: {wrong[0][:300]}"
                seen["steps at the end of numbers"] += 1
    return seen
