"""The sign turns once on the way of a leaf: a second turn is ascent."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx

P = {"a": jnp.ones(2), "b": jnp.ones(2)}
TWICE: dict[str, Any] = {
    "two rates": lambda: gx.chain(gx.adam(1e-3), gx.scale_by_learning_rate(0.1)),
    "two optimizers": lambda: gx.chain(gx.sgd(0.1), gx.sgd(0.1)),
    "nested": lambda: gx.chain(gx.chain(gx.clip(1.0), gx.sgd(0.1)), gx.trace(0.9), gx.sgd(gx.tunable(0.1))),
    "named": lambda: gx.named_chain(("one", gx.sgd(0.1)), ("two", gx.sgd(0.1))),
    "in a group": lambda: gx.chain(gx.groups([("a", gx.sgd(0.1))], gx.trace(0.9)), gx.sgd(0.1)),
    "inside a group": lambda: gx.groups([("a", gx.chain(gx.sgd(0.1), gx.sgd(0.1)))], gx.sgd(0.1)),
    "masks that overlap": lambda: gx.chain(gx.masked(gx.sgd(0.1), "a"), gx.masked(gx.sgd(0.2), "a|b")),
    "in a wrapper": lambda: gx.chain(gx.accumulate(gx.adam(0.1), 2), gx.sgd(0.1)),
    "in two wrappers": lambda: gx.chain(gx.guard(gx.adam(0.1)), gx.measure(gx.sgd(0.1), grad_norm=True)),
    "packed": lambda: gx.packed(gx.chain(gx.packed(gx.sgd(0.1)), gx.sgd(0.1))),
    "inside a wrapper": lambda: gx.guard(gx.chain(gx.masked(gx.sgd(0.1), "a"), gx.sgd(0.2))),
}


@pytest.mark.parametrize("make", TWICE.values(), ids=TWICE)
def test_two_turns_are_refused_with_the_remedy(make: Any) -> None:
    with pytest.raises(ValueError, match=r"two stages that turn the sign, .* flip_sign=False\), or scale\(...\)"):
        make().init(P)


def test_the_leaf_is_named() -> None:
    with pytest.raises(ValueError, match="'a' meets two stages that turn the sign"):
        TWICE["masks that overlap"]().init(P)


ONCE: dict[str, Any] = {
    "another factor": lambda: gx.chain(gx.adam(0.1), gx.scale(0.5)),
    "said to be meant": lambda: gx.chain(gx.adam(0.1), gx.scale_by_learning_rate(0.5, flip_sign=False)),
    "by hand": lambda: gx.chain(gx.sgd(0.1), gx.scale(-1.0)),
    "masks side by side": lambda: gx.chain(gx.masked(gx.sgd(0.1), "a"), gx.masked(gx.sgd(0.2), "b")),
    "groups": lambda: gx.groups([("a", gx.sgd(0.1))], gx.adam(0.1)),
    "lookahead": lambda: gx.lookahead(gx.adam(0.1), 2, 0.5),
    "lookahead anew": lambda: gx.lookahead(gx.adam(0.1), 2, 0.5, reset_state=True),
    "sam": lambda: gx.sam(gx.sgd(0.1), gx.chain(gx.normalize_by_update_norm(), gx.sgd(0.1))),
    "schedule free": lambda: gx.schedule_free(gx.sgd(0.1), 0.1),
    "polyak": gx.polyak_sgd,
    "lbfgs": gx.lbfgs,
    "proximal": lambda: gx.proximal_sgd(0.1, 0.5),
    "averaged": lambda: gx.chain(gx.sgd(0.1), gx.proximal_l1(0.1, 0.1), gx.ema_of_params(0.9)),
}


@pytest.mark.parametrize("make", ONCE.values(), ids=ONCE)
def test_what_turns_once_or_says_so_stays_allowed(make: Any) -> None:
    make().init(P)


def test_a_second_rate_is_a_factor_where_it_says_so() -> None:
    g = jnp.asarray([0.5, -2.0])
    ours = gx.chain(gx.sgd(0.1), gx.scale_by_learning_rate(0.5, flip_sign=False))
    theirs = optax.chain(optax.sgd(0.1), optax.scale_by_learning_rate(0.5, flip_sign=False))
    np.testing.assert_allclose(ours.update(g, ours.init(g))[0], theirs.update(g, theirs.init(g))[0], rtol=1e-6)


@pytest.mark.parametrize("where", ["w", 3, {"w": True}, lambda path, leaf: True])
def test_lift_takes_a_selector_and_names_one(where: Any) -> None:
    with pytest.raises(TypeError, match=r"where must be a selector, such as gx.matching\(pattern\), or None, got"):
        gx.lift(gx.scale_by_sign().stages[0].rule, where=where)
