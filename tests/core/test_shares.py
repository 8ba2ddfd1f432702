"""What is known of an update's shares, while it is traced and no longer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core import shares
from gradxform.core.shares import Share, by_element, laid_out, share_of, shared
from gradxform.core.step import apply_updates


def halved(x: Any) -> Any:
    """Twice the first half, known as the whole of it."""
    half = x[:2]
    return shared(jnp.concatenate([half, half]), Share(half, lambda x: x[:2], lambda x: jnp.concatenate([x, x])))


def test_a_parameter_is_moved_by_shares_and_put_together() -> None:
    p, u = jnp.arange(4.0), jnp.ones(4)
    np.testing.assert_array_equal(jax.jit(lambda p, u: apply_updates(p, halved(u)))(p, u), [1, 2, 1, 2])
    np.testing.assert_array_equal(jax.jit(lambda p, u: p + halved(u))(p, u), [1, 2, 3, 4])


def test_what_is_done_by_element_is_done_to_the_share() -> None:
    def step(u: Any) -> Any:
        assert share_of(by_element(jnp.negative, u)) is None
        assert share_of(-halved(u)) is None
        return share_of(by_element(jnp.negative, halved(u))).update

    np.testing.assert_array_equal(jax.jit(step)(jnp.ones(4)), [-1, -1])


def test_sums_read_the_share_where_it_is_the_whole_in_the_program() -> None:
    def step(u: Any) -> Any:
        assert laid_out(u) is u
        half = halved(u)
        assert laid_out(half) is half
        return laid_out(shared(u + 1, Share(u, jnp.array, jnp.array)))

    np.testing.assert_array_equal(jax.jit(step)(jnp.ones(4)), jnp.ones(4))


def test_arrays_that_are_there_are_whole() -> None:
    assert share_of(halved(jnp.ones(4))) is None
    assert share_of(None) is None


def test_nothing_is_known_once_the_trace_has_ended() -> None:
    with jax.checking_leaks():
        jax.jit(lambda p, u: jax.lax.scan(lambda p, u: (apply_updates(p, halved(u)), None), p, u)[0])(
            jnp.ones(4), jnp.ones((3, 4))
        )
    assert not shares._KNOWN
