"""The other libraries' optimizers outside of `jit` give what they give inside."""

from __future__ import annotations

import inspect
from typing import Any

import jax
import numpy as np
import pytest

from gradxform.compat import mindspore, paddle, torch
from tests.catalogue import tree

OPTIMIZERS = {
    torch: "adadelta adagrad adam adamax adamw asgd nadam radam rmsprop rprop sgd",
    paddle: "adadelta adagrad adam adamax adamw lamb momentum nadam radam rmsprop sgd",
    mindspore: "adadelta adagrad adam adam_weight_decay adamax ftrl lazy_adam momentum proximal_adagrad rmsprop sgd",
}
MAKES = {
    f"{module.__name__.rsplit('.', 1)[1]}-{name}": getattr(module, name)
    for module, names in OPTIMIZERS.items()
    for name in names.split()
}


def steps(tx: Any, update: Any) -> Any:
    p, state = tree(0), tx.init(tree(0))
    for i in range(2):
        updates, state = update(tree(i + 1), state, p)
    return updates, state


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_unjitted_equals_jitted(make: Any):
    """Bit for bit: a rate and a decay are rounded once either way, and all other numbers are constants in both."""
    given = {"momentum": 0.9, "weight_decay": 0.1, "learning_rate": 0.1, "lr": 0.1}
    names = inspect.signature(make).parameters
    tx = make(**{name: x for name, x in given.items() if name in names})
    jax.tree.map(np.testing.assert_array_equal, steps(tx, tx.update), steps(tx, jax.jit(tx.update)))
