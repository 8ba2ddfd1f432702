"""MindSpore's Adagrad, and the proximal one, beside transcripts, and what they refuse."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from gradxform.compat import mindspore
from tests import transcripts
from tests.compat import mindspore_transcript
from tests.compat.mindspore.beside import cases, compare, positive, small
from tests.compat.transcribed import walks

PROXIMAL = st.fixed_dictionaries({"accum": positive, "l1": small, "l2": small, "use_locking": st.booleans()})


@cases(PROXIMAL)
def test_proximal_adagrad(**case: Any) -> None:
    compare(mindspore.proximal_adagrad, mindspore_transcript.ProximalAdagrad, **case)


PARAMS = {"a": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3), "b": jnp.ones(3)}


def test_adagrad() -> None:
    walks(mindspore.adagrad(0.25, 0.1), transcripts.adagrad, 0.1, a0=0.25, eps=1e-8, dtype=np.float32)


def test_adagrad_without_updating_its_slots() -> None:
    """As documented; the kernel ignores the flag."""
    tx = mindspore.adagrad(accum=0.25, learning_rate=0.5, update_slots=False)
    state = tx.init(PARAMS)
    updates, after = tx.update(PARAMS, state, PARAMS)
    np.testing.assert_allclose(updates["a"], -PARAMS["a"], rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, after.leaves, state.leaves)


REFUSED: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("adagrad", {"update_slots": 1}, TypeError, "update_slots.*1"),
]


@pytest.mark.parametrize(("name", "kwargs", "error", "words"), REFUSED, ids=str)
def test_refused(name: str, kwargs: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        getattr(mindspore, name)(**kwargs)
    assert caught.type is error
