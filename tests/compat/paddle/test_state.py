"""paddle's `state_dict` of optimizers: training goes on here as if it had begun here, and the other way round."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import paddle, paddle_schedules
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
    tx = paddle.momentum(paddle_schedules.ExponentialDecay(0.5, 0.5))
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


def test_a_scheduler_after_a_warm_up_is_in_the_checkpoint() -> None:
    """What `LinearWarmup(StepDecay(0.1, 3), 3, 0.0, 0.1).state_dict()` of Paddle 3.3.1 gives, step by step."""
    params = {"w": jnp.ones(3)}
    rates = paddle_schedules.LinearWarmup(paddle_schedules.StepDecay(0.1, 3), 3, 0.0, 0.1)
    tx = paddle.momentum(rates)
    state = tx.init(params)
    for last, rate, inner_last, inner_rate in [(1, 0.1 / 3, 0, 0.1), (3, 0.1, 0, 0.1), (6, 0.01, 3, 0.01)]:
        saved = paddle.save_state(state._replace(count=jnp.asarray(last)), params, tx=tx)["LR_Scheduler"]
        assert saved.keys() == {"last_epoch", "last_lr", "LinearWarmup_LR"}
        inner = saved["LinearWarmup_LR"]
        assert (saved["last_epoch"], inner["last_epoch"]) == (last, inner_last)
        np.testing.assert_allclose([saved["last_lr"], inner["last_lr"]], [rate, inner_rate], rtol=1e-6)
    twice = paddle_schedules.LinearWarmup(rates, 2, 0.0, 0.2)
    tx = paddle.momentum(twice)
    saved = paddle.save_state(state._replace(count=jnp.asarray(6)), params, tx=tx)["LR_Scheduler"]
    assert saved["LinearWarmup_LR"]["LinearWarmup_LR"] == {"last_epoch": 1, "last_lr": pytest.approx(0.1)}
    assert (
        "LinearWarmup_LR"
        not in paddle.save_state(state, params, tx=paddle.momentum(paddle_schedules.LinearWarmup(0.1, 3, 0.0, 0.1)))[
            "LR_Scheduler"
        ]
    )


def test_a_scheduler_that_begins_later_counts_from_there() -> None:
    """`last_epoch` of the checkpoint is Paddle's, whatever the schedule's own shifts."""
    params = {"w": jnp.ones(3)}
    tx = paddle.momentum(paddle_schedules.StepDecay(0.1, 4, last_epoch=5))
    saved = paddle.save_state(tx.init(params), params, tx=tx)
    assert saved["LR_Scheduler"] == {"last_epoch": 6, "last_lr": pytest.approx(0.01)}
    assert int(paddle.load_state(saved, params, tx=tx).count) == 0
    assert int(paddle.load_state(saved, params, tx=tx, step=40).count) == 40
    with pytest.raises(ValueError, match="step must be a whole number of steps"):
        paddle.load_state(saved, params, tx=tx, step=-1)
    later = {**saved, "LR_Scheduler": {"last_epoch": 9}}
    assert int(paddle.load_state(later, params, tx=tx).count) == 3
    with pytest.raises(ValueError, match="last_epoch of LR_Scheduler is 2, and the schedule of tx begins at 6"):
        paddle.load_state({**saved, "LR_Scheduler": {"last_epoch": 2}}, params, tx=tx)


@pytest.mark.parametrize("tx", [paddle.momentum(), paddle.adam(), paddle.nadam(), paddle.rmsprop(0.1)], ids=str)
def test_a_parameter_without_a_gradient_yet_begins_anew(tx: Any) -> None:
    """Paddle makes its statistics at its first gradient. Entries that nobody has are a misspelt name, and refused."""
    params = {"a": jnp.ones(3), "b": jnp.ones(2)}
    _, state = tx.update({"a": jnp.ones(3), "b": None}, tx.init(params), params)
    saved = paddle.save_state(state, params, tx=tx)
    without = {key: x for key, x in saved.items() if not key.startswith("b_")}
    jax.tree.map(np.testing.assert_array_equal, paddle.load_state(without, params, tx=tx).leaves, state.leaves)
    for strange in ({key.replace("b_", "c_", 1): x for key, x in saved.items()}, {}):
        with pytest.raises(ValueError, match="no entry <name>_"):
            paddle.load_state(strange, params, tx=tx)


def test_a_second_optimizer_of_one_process_has_keys_of_its_own() -> None:
    """Paddle numbers names that it has made before: `w_velocity_1`."""
    params = {"w": jnp.ones(3), "b": jnp.ones(2)}
    again = {"w_velocity_1": np.full(3, 0.5), "b_velocity_1": np.zeros(2)}
    assert gx.view(paddle.load_state(again, params), "trace")["w"].tolist() == [0.5] * 3
    with pytest.raises(ValueError, match="one entry for each statistic, and it has 'w_velocity_1' beside another"):
        paddle.load_state({"w_velocity_0": np.zeros(3), **again}, params)
