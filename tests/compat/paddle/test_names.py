"""Paddle's calls as they are written there, and the optimizer's name in the keys of its state."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from gradxform.compat import paddle

ARRAYS = [jnp.ones((2, 3)), jnp.ones(3)]
OPTIMIZERS = [name for name in paddle.__all__ if name[0].islower() and name not in ("load_state", "save_state")]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_calls_of_paddle(name: str) -> None:
    make = getattr(paddle, name)
    with pytest.raises(TypeError, match=rf"parameters: {name} takes the parameters at init"):
        make(0.1, parameters=ARRAYS)
    plain = make(0.1)
    assert make(0.1, multi_precision=False, use_multi_tensor=True, name=None) == plain
    with pytest.raises(TypeError, match="name must be a name or None, got 3"):
        make(0.1, name=3)
    params = {"w": jnp.ones(3)}
    called = make(0.1, name="mine")
    state = called.init(params)
    saved = paddle.save_state(state, params, tx=called)
    assert saved.keys() == {key.replace("w_", "w_mine_", 1) for key in paddle.save_state(state, params, tx=plain)}
    if saved:
        assert paddle.load_state(saved, params, tx=called).leaves.keys() == state.leaves.keys()
        with pytest.raises(ValueError, match="no entry <name>_"):
            paddle.load_state(saved, params, tx=plain)
