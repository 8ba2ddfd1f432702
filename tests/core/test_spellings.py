from __future__ import annotations

import inspect
import pickle
from typing import Any

import jax.numpy as jnp
import pytest
import torch

import gradxform as gx
from gradxform.core.spellings import INSTEAD, PARAMETERS, SPELT
from tests.arguments import parameters, public_functions

FUNCTIONS = {
    name: f
    for name, f in public_functions().items()
    if all(p.kind != p.VAR_KEYWORD for p in parameters(f)) and not gx._HOMES[name].startswith("gradxform.core")
}
MODEL = torch.nn.Linear(2, 2)


def refused(f: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(TypeError) as raised:
        f(*args, **kwargs)
    return str(raised.value)


@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_foreign_spelling_is_answered_with_ours(f: Any) -> None:
    takes = [p.name for p in parameters(f)]
    for name in {*SPELT, *INSTEAD} - {*takes}:
        words, ours = refused(f, **{name: 0.5}), [x for x in SPELT.get(name, ()) if x in takes]
        assert words.startswith(f"{f.__name__} takes {ours[0]!r}, not {name!r}" if ours else f.__name__)
        assert ours or name not in INSTEAD or words == f"{f.__name__} has no {name!r}: {INSTEAD[name]}"
    if "b1" in takes and "betas" not in takes:
        assert "takes b1=0.8, b2=0.9" in refused(f, betas=(0.8, 0.9)) or "b2" not in takes
    for name in PARAMETERS - {*takes}:
        assert "state = tx.init(params)" in refused(f, **{name: {}})


RATED = [f for f in FUNCTIONS.values() if parameters(f)[:1] and parameters(f)[0].name == "learning_rate"]


@pytest.mark.parametrize("f", RATED, ids=lambda f: f.__name__)
def test_parameters_in_place_of_the_rate(f: Any) -> None:
    words = f"{f.__name__}: parameters are not given when it is made: state = tx.init(params)"
    given = (MODEL.parameters(), [*MODEL.parameters()], MODEL, {"w": jnp.ones(2)})
    assert all(refused(f, x).startswith(words) for x in given)
    assert refused(f, MODEL.parameters(), lr=0.1).startswith(words)


def test_pasted_calls() -> None:
    assert refused(gx.adamw, lr=1e-3, betas=(0.9, 0.99), epsilon=1e-7) == (
        "adamw takes 'learning_rate', not 'lr' and takes b1=0.9, b2=0.99, not betas=(0.9, 0.99) and takes 'eps', not "
        "'epsilon'"
    )
    assert refused(gx.sgd, 0.1, clipvalue=1.0) == "sgd has no 'clipvalue': gx.chain(gx.clip(x), tx) clips each element"
    assert "takes 'learning_rate', not 'learning_rat'" in refused(gx.adam, learning_rat=0.1)
    assert "has no 'x': it takes learning_rate, b1, b2" in refused(gx.adam, x=0.1)


def test_other_refusals_and_the_functions_stay_what_they_are() -> None:
    with pytest.raises(ValueError, match="learning_rate must be at least 0 and finite, got -1"):
        gx.adam(-1.0)
    assert "missing 1 required positional argument" in refused(gx.adam)
    assert "learning_rate must be a number" in refused(gx.adam, "fast")
    assert pickle.loads(pickle.dumps(gx.adam)) is gx.adam
    assert inspect.isfunction(gx.adam)
    assert gx.adam.__doc__
    assert gx.adam(0.1) == gx.adam(learning_rate=0.1)
