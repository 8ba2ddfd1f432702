"""paddle's `state_dict` of optimizers: training goes on here as if it had begun here, and the other way round."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import paddle
from tests.compat import build_paddle
from tests.compat.replay import GOLDEN, gradients, load

SPLIT = 7
WHOLE = [
    "Momentum_groups",
    "Momentum_piecewise_decay_nesterov",
    "SGD_clip_global_norm_decay",
    "Adam_amsgrad",
    "AdamW_apply_decay_param_fun",
    "Adagrad_accum",
    "Adadelta_default",
    "Adamax_default",
    "NAdam_default",
    "RAdam_default",
    "RMSProp_centered_momentum",
    "RMSProp_default",
    "Lamb_exclude",
]


def case(name: str) -> tuple[Any, Any, Any, Any]:
    file, config = load(GOLDEN / f"paddle_{name}.npz")
    return (
        file,
        config,
        build_paddle.build(config),
        {leaf: jnp.asarray(file[f"param/{leaf}"]) for leaf, _ in config["leaves"]},
    )


def trained(tx: Any, file: Any, config: Any, params: Any, state: Any, steps: range) -> tuple[Any, Any]:
    for t in steps:
        updates, state = tx.update(gradients(file, config, t), state, params)
        params = gx.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("name", WHOLE)
def test_a_run_goes_on_from_its_checkpoint(name: str) -> None:
    """Saved after 7 of 12 steps, loaded again: it ends where the real run ended, and the statistics are as saved."""
    file, config, tx, params = case(name)
    half, state = trained(tx, file, config, params, tx.init(params), range(1, SPLIT + 1))
    saved = paddle.save_state(state, half, tx=tx)
    assert all(isinstance(x, np.ndarray) for key, x in saved.items() if key != "LR_Scheduler")
    loaded = paddle.load_state(saved, half, tx=tx)
    assert jax.tree.structure(loaded) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, loaded.leaves, state.leaves)
    assert int(loaded.count) == (SPLIT if "LR_Scheduler" in saved else 0)
    after, _ = trained(tx, file, config, half, loaded, range(SPLIT + 1, 13))
    for leaf, w in after.items():
        expected = file[f"after/12/{leaf}"]
        np.testing.assert_allclose(w, expected, rtol=0, atol=2e-6 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("name", WHOLE)
def test_the_real_frameworks_state_is_ours_after_as_many_steps(name: str) -> None:
    """The final state of a recorded run, loaded, against ours after the same gradients."""
    file, config, tx, params = case(name)
    after, state = trained(tx, file, config, params, tx.init(params), range(1, 13))
    parts = [(key.split("/", 3)[2:], file[key]) for key in file if key.startswith("state/12/")]
    loaded = paddle.load_state({f"{leaf}_{entry}_0": x for (entry, leaf), x in parts}, after, tx=tx)
    for ours, theirs in zip(jax.tree.leaves(state.leaves), jax.tree.leaves(loaded.leaves), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * max(np.abs(theirs).max(), 1e-30))


def test_names_of_the_framework_and_its_scheduler() -> None:
    params = {"fc": {"w": jnp.ones((2, 3))}}
    names = {"linear_0.w_0": "fc/w"}
    velocity = np.full((2, 3), 0.5, np.float32)
    checkpoint = {
        "linear_0.w_0_velocity_0": velocity,
        "LR_Scheduler": {"last_epoch": 4, "last_lr": 0.1},
        "master_weights": {},
    }
    state = paddle.load_state(checkpoint, params, names)
    assert int(state.count) == 4
    np.testing.assert_array_equal(gx.view(state, "trace")["fc"]["w"], velocity)
    tx = paddle.momentum(gx.compat.paddle_schedules.ExponentialDecay(0.5, 0.5))
    saved = paddle.save_state(state, params, names, tx=tx)
    assert saved["LR_Scheduler"] == {"last_epoch": 4, "last_lr": 0.5**5}
    assert set(saved) == {"linear_0.w_0_velocity_0", "LR_Scheduler"}
    np.testing.assert_array_equal(saved["linear_0.w_0_velocity_0"], velocity)


def test_checkpoints_that_do_not_fit_are_refused() -> None:
    params = {"w": jnp.ones(3)}
    whole = {"w_velocity_0": np.ones(3)}
    paddle.load_state(whole, params)
    with pytest.raises(ValueError, match=r"no entry <name>_velocity_0 for the parameter 'v'"):
        paddle.load_state(whole, {"v": jnp.ones(3)})
    with pytest.raises(ValueError, match=r"'w_velocity_0' of shape \(3,\), the parameter 'w' has \(4,\)"):
        paddle.load_state(whole, {"w": jnp.ones(4)})
    with pytest.raises(ValueError, match="give tx"):
        paddle.load_state({"w_moment_0": np.ones(3)}, params)
    with pytest.raises(TypeError, match="checkpoint must map"):
        paddle.load_state([np.ones(3)], params)
    with pytest.raises(ValueError, match="not of an optimizer"):
        paddle.save_state(gx.lion(0.1).init(params), params)


@pytest.mark.parametrize("value", [np.nan, -0.5, 1.5, np.inf, 1j])
@pytest.mark.parametrize(
    ("tx", "entry"),
    [
        (paddle.adam(), "beta1_pow_acc"),
        (paddle.adamw(), "beta2_pow_acc"),
        (paddle.adamax(), "beta1_pow_acc"),
        (paddle.nadam(), "mu_product"),
        (paddle.nadam(), "momentum_decay_pow"),
        (paddle.radam(), "beta1_pow"),
        (paddle.radam(), "beta2_pow"),
    ],
)
def test_a_power_that_is_none_is_refused(tx: Any, entry: str, value: Any) -> None:
    """Powers of betas are in [0, 1]: what says otherwise would correct by nonsense, or count steps below 0."""
    params = {"w": jnp.ones(3), "b": jnp.ones(2)}
    saved = paddle.save_state(tx.init(params), params, tx=tx)
    wrong = {**saved, f"b_{entry}_0": np.full_like(saved[f"b_{entry}_0"], value, type(value))}
    with pytest.raises(ValueError, match=rf"checkpoint has 'b_{entry}_0' with .*: a power of betas is in \[0, 1\]"):
        paddle.load_state(wrong, params, tx=tx)
    for fits in (0.0, 1.0):
        paddle.load_state({**saved, f"b_{entry}_0": np.full_like(saved[f"b_{entry}_0"], fits)}, params, tx=tx)
