"""Checkpoints of MindSpore's optimizers: training goes on here as if it had begun here, and the other way round."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import mindspore
from tests.compat import build_mindspore, mindspore_transcript
from tests.compat.replay import GOLDEN, gradients, load

SPLIT = 7
WHOLE = [
    "Momentum_plain",
    "Adam_default",
    "Adam_weight_decay_amsgrad",
    "Adam_groups_lr_weight_decay_amsgrad",
    "ProximalAdagrad_l1_l2",
    "SGD_momentum_dampening",
    "AdaMax_default",
    "Adadelta_default",
    "Adagrad_default",
    "RMSProp_centered_momentum",
    "FTRL_default",
    "AdamWeightDecay_weight_decay",
]


def case(name: str) -> tuple[Any, Any, Any, Any]:
    file, config = load(GOLDEN / f"mindspore_{name}.npz")
    params = {leaf: jnp.asarray(file[f"param/{leaf}"]) for leaf, _ in config["leaves"]}
    return file, config, build_mindspore.build(config), params


def trained(tx: Any, file: Any, config: Any, params: Any, state: Any, steps: range) -> tuple[Any, Any]:
    for t in steps:
        updates, state = tx.update(gradients(file, config, t), state, params)
        params = gx.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("name", WHOLE)
def test_a_run_goes_on_from_its_checkpoint(name: str) -> None:
    """Saved after 7 of 12 steps as a dict of arrays, loaded again: bit for bit the run in one piece."""
    file, config, tx, params = case(name)
    half, state = trained(tx, file, config, params, tx.init(params), range(1, SPLIT + 1))
    saved = mindspore.save_state(state, half, tx=tx)
    assert all(isinstance(x, np.ndarray) for x in saved.values())
    loaded_state = mindspore.load_state(saved, half, tx=tx)
    assert jax.tree.structure(loaded_state) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, loaded_state, state)
    after, _ = trained(tx, file, config, half, loaded_state, range(SPLIT + 1, 13))
    for leaf, w in after.items():
        expected = file[f"after/12/{leaf}"]
        np.testing.assert_allclose(w, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def recorded(file: Any, config: Any) -> dict[str, Any]:
    """The final state of a recorded run as the framework's checkpoint of it."""
    keys = [key for key in file if key.startswith("state/")]
    entries = {key.split("/", 2)[2].replace("/", ".", 1): file[key] for key in keys}
    return {**entries, "global_step": np.array([config["global_step_after"]], np.int32), "learning_rate": np.float32(0)}


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("Momentum_plain", mindspore_transcript.Momentum),
        ("Adam_betas_eps", mindspore_transcript.Adam),
        ("Adam_amsgrad", mindspore_transcript.Adam),
        ("ProximalAdagrad_l1_l2", mindspore_transcript.ProximalAdagrad),
    ],
)
def test_training_goes_on_from_the_real_frameworks_state(name: str, rule: Any) -> None:
    """Three steps past a recorded run, against a transcript that has done all 15."""
    file, config, tx, params = case(name)
    defaults = {"use_nesterov": False, "use_amsgrad": False, "use_lazy": False, "accum": 0.1, "l1": 0.0, "l2": 0.0}
    options = {**defaults, **config["kwargs"]}
    grads = [{leaf: file[f"grad/{t}/{leaf}"] for leaf in params} for t in [*range(1, 13), 1, 2, 3]]
    shared = {"lr": options["learning_rate"], "decay": 0.0, "loss_scale": 1.0, "centralized": False}
    expected = mindspore_transcript.run(rule, params, grads, shared, {}, options)[-1]

    now = {leaf: jnp.asarray(file[f"after/12/{leaf}"]) for leaf in params}
    state = mindspore.load_state(recorded(file, config), now)
    after, state = trained(tx, file, config, now, state, range(1, 4))
    assert state.count == 15
    for leaf, w in after.items():
        np.testing.assert_allclose(w, expected[leaf], rtol=0, atol=2e-6 * max(1.0, np.abs(expected[leaf]).max()))


ENTRIES: dict[str, tuple[dict[str, Any], str]] = {
    "momentum": ({"momentum": 0.9}, "moments.w"),
    "sgd": ({"momentum": 0.9}, "accum.w stat.w"),
    "adam": ({"use_amsgrad": True}, "beta1_power beta2_power moment1.w moment2.w vhat.w"),
    "lazy_adam": ({}, "beta1_power beta2_power moment1.w moment2.w"),
    "adam_weight_decay": ({}, "adam_m.w adam_v.w"),
    "adamax": ({}, "beta1_power moment1.w moment2.w"),
    "adadelta": ({}, "accum.w accum_update.w"),
    "adagrad": ({}, "accum.w"),
    "proximal_adagrad": ({}, "accum.w"),
    "rmsprop": ({"centered": True}, "mean_grad.w mean_square.w moment.w"),
    "ftrl": ({}, "linear.w moments.w"),
    "lamb": ({}, "lamb_m.w lamb_v.w"),
}
"""What `save_checkpoint` of MindSpore 2.10 writes for each, beside the parameters, fixed rates and momenta."""


def test_entries_are_those_of_the_frameworks_checkpoints() -> None:
    params = {"w": jnp.ones(2)}
    for name, (options, entries) in ENTRIES.items():
        tx = getattr(mindspore, name)(learning_rate=0.1, **options)
        saved = mindspore.save_state(tx.init(params), params, tx=tx)
        assert saved.keys() == {*entries.split(), "global_step", "w"}, name
        shapes = {key: x.shape for key, x in saved.items()}
        assert all(shape == ((2,) if "w" in key.split(".") else (1,)) for key, shape in shapes.items()), shapes


def test_names_of_the_framework() -> None:
    """Without a mapping `.` stands for `/`; with one its names are taken, in both directions."""
    params = {"dense": {"kernel": jnp.ones((2, 3))}}
    tx = mindspore.adam()
    checkpoint = {
        "moment1.dense.kernel": np.full((2, 3), 0.5),
        "moment2.dense.kernel": np.full((2, 3), 0.25),
        "beta1_power": np.float32(0.9**4),
        "global_step": np.array([4]),
    }
    state = mindspore.load_state(checkpoint, params)
    assert gx.view(state, "mu")["dense"]["kernel"].tolist() == [[0.5] * 3] * 2
    assert state.leaves["dense"]["kernel"]["adam"].nu.dtype == jnp.float32
    names = {"fc.weight": "dense/kernel"}
    saved = mindspore.save_state(state, params, names, tx=tx)
    moments = {"moment1.fc.weight", "moment2.fc.weight"}
    assert set(saved) == {"fc.weight", *moments, "beta1_power", "beta2_power", "global_step"}
    assert saved["beta1_power"] == np.float32(0.9**4)
    np.testing.assert_allclose(saved["beta2_power"], 0.999**4, rtol=1e-6)
    again = mindspore.load_state(saved, params, names)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    assert set(mindspore.save_state(state, params, names)) == set(saved) - {"beta2_power"}


def multiplied(beta: float, steps: int) -> np.float32:
    """The power of a beta as the framework has it after some steps: a running product in float32."""
    product = np.float32(1)
    for _ in range(steps):
        product = product * np.float32(beta)
    return product


@pytest.mark.parametrize("make", [mindspore.adam, mindspore.adamax])
def test_powers_of_betas_are_the_checkpoints(make: Any) -> None:
    """Multiplied up in float32, saved so, loaded so, whatever `global_step` would make of them."""
    params = {"w": jnp.ones(3), "b": jnp.ones(2)}
    tx = make(0.1, 0.9, 0.9999)
    state = tx.init(params)
    for _ in range(7):
        _, state = tx.update(params, state, params)
    saved = mindspore.save_state(state, params)
    betas = {"beta1_power": 0.9, "beta2_power": 0.9999} if make is mindspore.adam else {"beta1_power": 0.9}
    assert {name: saved[name] for name in saved if "power" in name} == {n: multiplied(b, 7) for n, b in betas.items()}
    for given in (saved, {name: x for name, x in saved.items() if "power" not in name}):
        jax.tree.map(np.testing.assert_array_equal, mindspore.load_state(given, params, tx=tx), state)
    shape = np.full(1, 0.25, np.float32)
    loaded = mindspore.load_state({**saved, "beta1_power": shape}, params, tx=tx)
    assert mindspore.save_state(loaded, params)["beta1_power"] == 0.25
    for wrong in (np.nan, -1.0, 1.5):
        with pytest.raises(ValueError, match=r"checkpoint has 'beta1_power' with .*: a power of betas is in \[0, 1\]"):
            mindspore.load_state({**saved, "beta1_power": np.float32(wrong)}, params, tx=tx)


def test_powers_that_differ_are_no_checkpoint() -> None:
    params = {"w": jnp.ones(3), "b": jnp.ones(2)}
    tx = gx.own_clock(mindspore.adam())
    _, state = tx.update({"w": jnp.ones(3), "b": None}, tx.init(params), params)
    _, later = tx.update({"w": jnp.ones(3), "b": jnp.ones(2)}, state, params)
    for differing in (state, later):
        with pytest.raises(ValueError, match=r"beta1_power 0\.8\d* for 'w' and another for others"):
            mindspore.save_state(differing, params)


def loaded_into(net: dict[str, Any], checkpoint: dict[str, Any]) -> dict[str, Any]:
    """`mindspore.load_param_into_net`: what has no entry of its name is sought under longer names that end in it."""
    missing = [name for name in net if name not in checkpoint]
    net = {name: checkpoint.get(name, x) for name, x in net.items()}
    prefixes = {key[: -len(name)] for name in missing for key in checkpoint if key.endswith(name)}
    for prefix in sorted(prefixes)[:1]:
        net |= {name: checkpoint[prefix + name] for name in missing if prefix + name in checkpoint}
    return net


@pytest.mark.parametrize("tx", [mindspore.momentum(0.1, 0.9), mindspore.adam(), mindspore.sgd(0.1, 0.9)], ids=str)
def test_a_checkpoint_holds_the_parameters(tx: Any) -> None:
    """Without them `load_param_into_net(opt, ...)` writes statistics into weights."""
    params = {"conv1": {"weight": jnp.full((2, 3), 5.0)}}
    saved = mindspore.save_state(tx.init(params), params, {"conv1.weight": "conv1/weight"}, tx=tx)
    net = {
        "conv1.weight": np.zeros((2, 3)),
        "learning_rate": 0.1,
        **{k: x * 0 for k, x in saved.items() if k[0] != "c"},
    }
    assert (loaded_into(net, saved)["conv1.weight"] == 5.0).all()
    alone = {name: x for name, x in saved.items() if name != "conv1.weight"}
    assert not (loaded_into({"conv1.weight": np.full((2, 3), 5.0)}, alone)["conv1.weight"] == 5.0).any()


def test_offloaded_statistics_are_loaded_into_host_memory() -> None:
    params = {"w": jnp.ones((2, 3))}
    tx = mindspore.adam(use_offload=True)
    saved = mindspore.save_state(mindspore.adam().init(params), params)
    state = mindspore.load_state(saved, params, tx=tx)
    assert {x.sharding.memory_kind for x in jax.tree.leaves(state.leaves)} == {"pinned_host"}


def test_checkpoints_that_do_not_fit_are_refused() -> None:
    params = {"w": jnp.ones(3)}
    whole = {"moments.w": np.ones(3), "global_step": np.array([1])}
    mindspore.load_state(whole, params)
    with pytest.raises(ValueError, match="no 'global_step'"):
        mindspore.load_state({"moments.w": np.ones(3)}, params)
    with pytest.raises(ValueError, match=r"no entry moments\.<name> for the parameter 'v'"):
        mindspore.load_state(whole, {"v": jnp.ones(3)})
    with pytest.raises(ValueError, match=r"'moments.w' of shape \(3,\), the parameter 'w' has \(4,\)"):
        mindspore.load_state(whole, {"w": jnp.ones(4)})
    with pytest.raises(ValueError, match="moments, moment1 or accum"):
        mindspore.load_state({"linear.w": np.ones(3), "global_step": np.array([1])}, params)
    with pytest.raises(TypeError, match="checkpoint must map"):
        mindspore.load_state([np.ones(3)], params)
    with pytest.raises(ValueError, match="not of an optimizer"):
        mindspore.save_state(gx.lion(0.1).init(params), params)
