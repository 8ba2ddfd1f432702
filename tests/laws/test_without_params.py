"""Without parameters every chain works whose rules need none; the others name the stage that does."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import gradxform as gx
from tests.catalogue import Entry, entries, moved


@entries(lambda e: not e.needing_params)
def test_where_no_rule_needs_them_parameters_make_no_difference(entry: Entry):
    g, state, _ = moved(entry.name)
    with jax.disable_jit():
        without = entry.update(g, state)
    jax.tree.map(np.testing.assert_array_equal, without, entry.op_by_op())


@entries(lambda e: e.needing_params)
def test_where_a_rule_needs_them_the_error_names_its_stage(entry: Entry):
    g, state, _ = moved(entry.name)
    words = f"^({'|'.join(entry.needing_params)}) needs the parameters"
    with pytest.raises(ValueError, match=words):
        entry.update(g, state)
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(lambda g, s: entry.update(g, s), g, state)


@entries(lambda e: e.axis is None)
def test_params_is_the_third_argument_and_a_keyword(entry: Entry):
    g, state, p = moved(entry.name)
    by_name = entry.tx.update(g, state, params=p, **entry.extra)
    jax.tree.map(np.testing.assert_array_equal, by_name, entry.tx.update(g, state, p, **entry.extra))


@entries(lambda e: e.axis is None and not e.reads_loss)
def test_extra_arguments_that_nobody_asks_for_make_no_difference(entry: Entry):
    g, state, p = moved(entry.name)
    with jax.disable_jit():
        extended = entry.tx.update(g, state, p, **{"value": 1.0, "grad": g, "value_fn": gx.global_norm, **entry.extra})
    jax.tree.map(np.testing.assert_array_equal, extended, entry.op_by_op())
