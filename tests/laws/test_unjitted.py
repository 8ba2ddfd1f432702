"""An update outside of `jit` gives what the compiled one gives."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from tests.catalogue import Entry, entries, moved


def assert_near(actual: Any, expected: Any, p: Any) -> None:
    """To 2 ulp of the largest term."""

    def check(a: Any, e: Any, p: Any) -> None:
        assert a.dtype == e.dtype
        if e.size == 0:
            return
        a, e = np.asarray(a), np.asarray(e)
        wide = np.complex128 if np.iscomplexobj(e) else np.float64
        scale = max(float(np.abs(e.astype(wide)).max()), 0.0 if p is None else float(np.abs(np.asarray(p, wide)).max()))
        eps = 0.0 if e.dtype.kind in "biu" else float(np.finfo(e.dtype if e.dtype.kind in "fc" else np.float32).eps)
        np.testing.assert_allclose(a.astype(wide), e.astype(wide), rtol=0, atol=2 * eps * scale)

    jax.tree.map(check, actual, expected, jax.tree.map(lambda _: None, expected) if p is None else p)


@entries(lambda e: e.axis is None)
def test_unjitted_equals_jitted(entry: Entry):
    g, state, p = moved(entry.name)
    expected, after = entry.run(g, state, p)
    updates, unjitted_after = entry.update(g, state, p)
    assert_near(updates, expected, p)
    assert_near(unjitted_after, after, None)
