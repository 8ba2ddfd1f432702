"""MindSpore's checkpoints of its optimizers, as dicts of NumPy arrays, and the state of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gradxform.compat.common.checkpoints import (
    Names,
    check_names,
    memories,
    powers,
    read,
    shaped,
    spellings,
    steps_done,
)
from gradxform.compat.mindspore.assembly import kernel
from gradxform.compat.mindspore.rules import UNTOLD, EpsilonHatAmsgrad, PoweredAdam
from gradxform.core.chain import Chain, lift
from gradxform.core.lens import layers
from gradxform.core.rule import Rule
from gradxform.core.state import State, find_state
from gradxform.core.transform import GradientTransformation, refuse_stranger
from gradxform.core.tree import Leaf, is_trained
from gradxform.core.types import Array, Memory, OptState, Params
from gradxform.optimizers.adagrad import scale_by_rss
from gradxform.transforms.momentum import trace

ENTRIES = {
    "momentum": {"moments": "trace"},
    "adam": {"moment1": "mu", "moment2": "nu", "vhat": "nu_max"},
    "proximal_adagrad": {"accum": "sum_of_squares"},
    "sgd": {"accum": "trace", "stat": "seen"},
    "adam_weight_decay": {"adam_m": "mu", "adam_v": "nu"},
    "lamb": {"lamb_m": "mu", "lamb_v": "nu"},
    "adamax": {"moment1": "mu", "moment2": "nu"},
    "adadelta": {"accum": "e_g", "accum_update": "e_x"},
    "adagrad": {"accum": "sum_of_squares"},
    "rmsprop": {"mean_square": "nu", "mean_grad": "mu"},
    "rmsprop_moment": {"moment": "trace"},
    "ftrl": {"moments": "sum_of_squares", "linear": "linear"},
}
"""Stage -> what the framework calls its statistics -> the field."""
POWERS = {"beta1_power": "b1_power", "beta2_power": "b2_power"}
"""What the framework keeps once for all parameters -> the field of each memory here."""


def load_state(
    checkpoint: Mapping[str, Any], params: Params, names: Names = None, tx: GradientTransformation | None = None
) -> State:
    """Make our state from a checkpoint of MindSpore's optimizer, to go on training at its `global_step`.

    checkpoint: `{"moment1.<name>": array, ..., "global_step": array}`; other entries are ignored, parameters too. The
    powers of Adam's betas are the checkpoint's; where it has none, they are made from `global_step`.
    names: from the framework's parameter names to paths in `params`; None takes the path itself, with `.` or `/`
    between names. tx: the optimizer that goes on, of this module; None finds out which of momentum, adam and
    proximal_adagrad it is.
    Raises: ValueError naming an entry that is missing, has another shape, or is a power outside [0, 1]; TypeError if
    checkpoint is no mapping.
    """
    checkpoint = read(checkpoint)
    check_names(names, params)
    if tx is not None:
        refuse_stranger(tx)
    if "global_step" not in checkpoint:
        raise ValueError(f"checkpoint has no 'global_step', the number of steps done; it has {sorted(checkpoint)}")
    steps = steps_done("checkpoint['global_step']", checkpoint["global_step"])
    state = find_state((_guess(checkpoint) if tx is None else tx).init(params))
    tree = memories(state, params)
    for leaf in tree.leaves:
        for stage, field, entry in _entries(leaf.memory):
            old = getattr(leaf.memory[stage], field)
            if entry in POWERS:
                told = _power(checkpoint, entry, leaf) if entry in checkpoint else _multiplied(tx, entry, leaf, steps)
                new = jnp.asarray(told, old.dtype)
            else:
                new = _decoded(entry, _value(checkpoint, entry, leaf, names), old)
            memory = leaf.memory[stage]._replace(**{field: jax.device_put(new, old.sharding)})
            leaf.memory = {**leaf.memory, stage: memory}
    return state._replace(count=jnp.asarray(steps, state.count.dtype), leaves=tree.close_memories())


def save_state(
    state: OptState, params: Params, names: Names = None, tx: GradientTransformation | None = None
) -> dict[str, NDArray[Any]]:
    """Make what MindSpore saves: `{"<name>": parameter, "moment1.<name>": array, ..., "global_step": array}`.

    The parameters belong in it: `load_param_into_net` fills one that it does not find from a longer name that ends in
    its own, `conv1.weight` from `moments.conv1.weight`. Powers of betas have shape (1,), which all take there.
    names: as in `load_state`; without it names are paths. tx: the optimizer, needed only where `load_state` had neither
    it nor the powers of Adam's betas: they are left out then.
    Raises: ValueError if the state is not of an optimizer of this module, or if parameters that rested have made the
    powers of Adam's betas differ, of which MindSpore has one for all.
    """
    check_names(names, params)
    if tx is not None:
        refuse_stranger(tx)
    ours = find_state(state)
    spelled = {path: name for name, path in (names or {}).items()}
    steps = int(ours.count)
    saved: dict[str, NDArray[Any]] = {}
    held: dict[str, NDArray[Any]] = {}
    says: dict[str, bool] = {}
    for leaf in memories(ours, params).leaves:
        name = spelled.get(leaf.path, leaf.path)
        if is_trained(leaf.p):
            held[name] = np.array(leaf.p)
        for stage, field, entry in _entries(leaf.memory):
            value = np.array(getattr(leaf.memory[stage], field))
            if entry not in POWERS:
                saved[f"{entry}.{name}"] = _encoded(entry, value, leaf)
                continue
            told = bool(value != UNTOLD)
            value = np.array([value if told else _multiplied(tx, entry, leaf, steps)], np.float32)
            differ = value != UNTOLD and saved.setdefault(entry, value) != value
            if differ or says.setdefault(entry, told) != told:
                raise ValueError(
                    f"the state has {entry} {value[0]} for {leaf.path!r} and another for others, MindSpore one for all"
                )
    if not saved and jax.tree.leaves(ours.leaves):
        raise ValueError(f"the state is not of an optimizer of compat.mindspore, it keeps {ours.leaves!r}")
    return {**held, **saved, "global_step": np.array([steps], np.int32)}


def _entries(memories: Mapping[str, Memory]) -> Iterator[tuple[str, str, str]]:
    """Stage, field, and the framework's name, for all that one parameter keeps."""
    for stage, memory in memories.items():
        for entry, field in {**ENTRIES.get(stage, {}), **POWERS}.items():
            if hasattr(memory, field):
                yield stage, field, entry


def _encoded(entry: str, value: NDArray[Any], leaf: Leaf) -> NDArray[Any]:
    """A statistic as the framework keeps it: `stat` is 1 before the first step, `moment` the step with its sign."""
    if entry == "stat":
        return np.full(leaf.array.shape, 1.0 - value, np.float32)
    return -value if entry == "moment" else value


def _decoded(entry: str, value: NDArray[Any], old: Array) -> Array:
    if entry == "stat":
        return jnp.asarray(not value.any())
    return jnp.asarray(-value if entry == "moment" else value, old.dtype)


def _value(checkpoint: Mapping[str, Any], entry: str, leaf: Leaf, names: Names) -> NDArray[Any]:
    tried = spellings(leaf.path, names)
    for key in (f"{entry}.{name}" for name in tried):
        if key in checkpoint:
            return shaped(key, checkpoint[key], leaf)
    raise ValueError(f"checkpoint has no entry {entry}.<name> for the parameter {leaf.path!r} (tried {tried!r})")


def _power(checkpoint: Mapping[str, Any], entry: str, leaf: Leaf) -> NDArray[Any]:
    return powers(entry, shaped(entry, checkpoint[entry], leaf, [(), (1,)])).reshape(())


def _multiplied(tx: GradientTransformation | None, entry: str, leaf: Leaf, steps: int) -> float:
    """A power of a beta after so many products in float32."""
    through = tx.through(leaf.path, leaf.array) if isinstance(tx, Chain) else ()
    rules: list[Any] = [layers(rule)[-1] for _, rule in through if isinstance(rule, Rule)]
    beta = POWERS[entry].removesuffix("_power")
    known = [getattr(rule, beta) for rule in rules if hasattr(rule, beta)]
    return float(np.multiply.reduce(np.full(steps, known[0], np.float32))) if known else UNTOLD


def _guess(checkpoint: Mapping[str, Any]) -> Chain:
    """A transformation with the memory that the checkpoint fills."""
    kinds = {name.split(".", 1)[0] for name in checkpoint}
    if "moment1" in kinds:
        return kernel(lift(EpsilonHatAmsgrad() if "vhat" in kinds else PoweredAdam()), "adam")
    if "moments" in kinds:
        return kernel(trace(0.9), "momentum", float64=True)
    if "accum" in kinds:
        return kernel(scale_by_rss(), "proximal_adagrad")
    raise ValueError(f"checkpoint must hold moments, moment1 or accum, or give tx; it holds {sorted(kinds)}")
