"""A strategy for some fields of the memory is for fields that there are, in whatever it stands."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

import gradxform as gx
from gradxform.core.fields import names_of

P = {"dense": jnp.ones((64, 128)), "bias": jnp.ones(3)}
ADAM = gx.adam(0.1)


def by_group(tx: gx.GradientTransformation) -> gx.GradientTransformation:
    return gx.groups([("dense", tx)], default=ADAM)


@pytest.mark.parametrize(
    "around",
    [
        lambda tx: tx,
        by_group,
        gx.packed,
        gx.own_clock,
        gx.master_weights,
        lambda tx: gx.stored_as("int8", tx),
        lambda tx: gx.offloaded(tx, fields="nu"),
        lambda tx: gx.accumulate(tx, 2),
        lambda tx: gx.guard(gx.chain(gx.clip_by_global_norm(1.0), tx)),
    ],
)
def test_a_field_that_no_rule_has_is_refused(around) -> None:
    words = r"has 'typo' for a field, and no rule keeps one; kept are: (count, )?mu, nu"
    for tx in (gx.stored_as({"mu": "int8", "typo": "int8"}, ADAM), gx.offloaded(ADAM, fields=["mu", "typo"])):
        with pytest.raises(ValueError, match=f"(stored_as|offloaded) {words}"):
            jax.eval_shape(around(tx).init, P)


def test_a_field_of_one_rule_or_leaf_is_enough() -> None:
    both = gx.groups([("dense", gx.sgd(0.1, 0.9))], default=ADAM)
    state = gx.stored_as({"trace": "int8", "mu": "int8"}, both).init(P)
    assert state.leaves["dense"]["trace"].trace.codes.dtype == jnp.int8
    gx.offloaded(both, fields=["trace", "nu"]).init(P)
    gx.stored_as({"mu": "int8"}, ADAM, gx.named("dense"), stochastic=True).init(P)
    gx.stored_as({"typo": "int8"}, ADAM).init({})


def test_fields_where_nothing_is_kept() -> None:
    words = r"has 'mu' for a field, and no rule of scale_by_learning_rate.* keeps any for a parameter"
    with pytest.raises(ValueError, match=f"stored_as {words}"):
        gx.stored_as({"mu": "int8"}, gx.sgd(0.1))
    with pytest.raises(ValueError, match=f"offloaded {words}"):
        gx.offloaded(gx.sgd(0.1), fields="mu")
    assert gx.offloaded(gx.sgd(0.1), fields="mu", memory_kind="device") == gx.sgd(0.1)


def test_memory_inside_memory_has_three_names() -> None:
    assert names_of("sides/row") == ["sides/row", "row", "sides"]
    assert {*names_of("mu")} == {"mu"}
