"""Complex parameters work, or are refused by the name of the stage and of the leaf.

Where they work, real numbers as complex ones give the real result, and turning gradient and parameter by the same
phase turns the update by it: both together say that only |x| and the direction of x enter.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.catalogue import Entry, entries, own, tree

C64 = jnp.complex64


def keeps_complex_narrow(entry: Entry) -> bool:
    """Whether a statistic that would be complex is asked for in a real dtype."""
    return entry.casts


def accepts(entry: Entry) -> bool:
    return not entry.real_only and not keeps_complex_narrow(entry)


def run(entry: Entry, turn: Any) -> Any:
    """Updates and state after two steps, everything complex multiplied by `turn`."""
    p, state = jax.tree.map(lambda x: turn * x, tree(0, C64)), None
    state = entry.tx.init(p)
    for seed in (1, 2):
        updates, state = entry.run(jax.tree.map(lambda x: turn * x, tree(seed, C64)), state, p)
    return updates, own(state).leaves


def assert_close(actual: Any, expected: Any, rtol: float = 2e-6) -> None:
    def check(a: Any, e: Any) -> None:
        assert a.dtype == e.dtype
        # |x|² = re² + im² rounds otherwise when re and im change places: 1 ulp in every square, a few in all.
        np.testing.assert_allclose(a, e, rtol=0, atol=rtol * float(np.abs(e).max(initial=0)))

    jax.tree.map(check, actual, expected)


@entries(lambda e: accepts(e) and not e.draws)
def test_a_common_phase_turns_the_update(entry: Entry):
    straight, turned = run(entry, 1), run(entry, 1j)
    assert all(u.dtype == C64 for u in jax.tree.leaves(straight[0]))
    assert_close(turned, jax.tree.map(lambda x: 1j * x if jnp.iscomplexobj(x) else x, straight))


@entries(lambda e: accepts(e) and not e.draws)
def test_real_numbers_as_complex_ones_give_the_real_result(entry: Entry):
    p, g = tree(0), tree(1)
    as_complex = jax.tree.map(lambda x: x.astype(C64), (p, g))
    expected, _ = entry.run(g, entry.tx.init(p), p)
    updates, _ = entry.run(as_complex[1], entry.tx.init(as_complex[0]), as_complex[0])
    matrix = any(rule.facts.matrix for _, rule in entry.rules)  # whose products are multiplied again
    assert_close(jax.tree.map(jnp.real, updates), expected, 2e-5 if matrix else 2e-6)
    assert all(float(jnp.abs(u.imag).max()) == 0.0 for u in jax.tree.leaves(updates))


@entries(accepts)
def test_the_state_is_a_fixed_point_for_complex_leaves(entry: Entry):
    p = tree(0, (jnp.float32, C64, jnp.bfloat16))
    state = jax.eval_shape(entry.tx.init, p)
    after = jax.eval_shape(entry.update, p, state, p)[1]
    kinds = [[(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(s)] for s in (state, after)]
    assert kinds[0] == kinds[1]


@entries(lambda e: e.real_only)
def test_complex_parameters_are_refused_by_stage_and_leaf(entry: Entry):
    p = tree(0, C64)
    with pytest.raises(ValueError, match=f"^{entry.real_only[0]} .*'[a-z/]+' is complex .complex64"):
        entry.tx.init(p)
    state = entry.tx.init(tree(0))
    with pytest.raises(ValueError, match=f"^{entry.real_only[0]} .*'[a-z/]+' is complex .complex64"):
        entry.update(p, state, p)


@entries(lambda e: keeps_complex_narrow(e) and not e.real_only)
def test_a_complex_statistic_is_not_kept_in_a_real_dtype(entry: Entry):
    with pytest.raises(ValueError, match="imaginary part"):
        entry.tx.init(tree(0, C64))


@entries()
def test_a_complex_gradient_of_a_real_parameter_is_refused(entry: Entry):
    p = tree(0)
    g = p | {"dense": p["dense"] | {"kernel": p["dense"]["kernel"].astype(C64)}}
    with pytest.raises(ValueError, match="'dense/kernel' is complex"):
        entry.update(g, entry.tx.init(p), p)


def test_an_average_of_parameters_is_complex():
    p = tree(0, C64)
    tx = gx.chain(gx.sgd(0.1), gx.polyak_average())
    _, state = tx.update(tree(1, C64), tx.init(p), p)
    average = gx.eval_params(tx, state, p)
    np.testing.assert_allclose(average["scale"], p["scale"] - 0.1 * tree(1, C64)["scale"], rtol=1e-6)
