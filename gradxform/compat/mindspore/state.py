"""MindSpore's checkpoints of its optimizers, as dicts of NumPy arrays, and the state of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gradxform.compat.common.checkpoints import Names, check_names, memories, read, shaped, spellings, steps_done
from gradxform.compat.common.moments import EpsilonHatAdam
from gradxform.compat.mindspore.assembly import kernel
from gradxform.compat.mindspore.rules import EpsilonHatAmsgrad
from gradxform.core.chain import Chain, lift
from gradxform.core.lens import layers
from gradxform.core.rule import Rule
from gradxform.core.stage import Step
from gradxform.core.state import State, find_state
from gradxform.core.transform import GradientTransformation, refuse_stranger
from gradxform.core.tree import Leaf
from gradxform.core.types import Array, Memory, OptState, Params
from gradxform.optimizers.adagrad import scale_by_rss
from gradxform.transforms.momentum import trace

ENTRIES = {
    "momentum": {"moments": "trace"},
    "adam": {"moment1": "mu", "moment2": "nu", "vhat": "nu_max"},
    "proximal_adagrad": {"accum": "sum_of_squares"},
    "sgd": {"accum": "trace", "stat": "seen"},
    "adam_weight_decay": {"moments1": "mu", "moments2": "nu"},
    "adamax": {"moment1": "mu", "moment2": "nu"},
    "adadelta": {"accum": "e_g", "accum_update": "e_x"},
    "adagrad": {"accum": "sum_of_squares"},
    "rmsprop": {"ms": "nu", "mg": "mu"},
    "rmsprop_moment": {"moment": "trace"},
    "ftrl": {"moments": "sum_of_squares", "linear": "linear"},
}
"""Stage -> what the framework calls its statistics -> the field."""


def load_state(
    checkpoint: Mapping[str, Any], params: Params, names: Names = None, tx: GradientTransformation | None = None
) -> State:
    """Make our state from a checkpoint of MindSpore's optimizer, to go on training at its `global_step`.

    checkpoint: `{"moment1.<name>": array, ..., "global_step": array}`; other entries are ignored. names: from the
    framework's parameter names to paths in `params`; None takes the path itself, with `.` or `/` between names.
    tx: the optimizer that goes on, of this module; None finds out which of momentum, adam and proximal_adagrad it is.
    Raises: ValueError naming an entry that is missing or has another shape; TypeError if checkpoint is no mapping.
    """
    checkpoint = read(checkpoint)
    check_names(names, params)
    if tx is not None:
        refuse_stranger(tx)
    if "global_step" not in checkpoint:
        raise ValueError(f"checkpoint has no 'global_step', the number of steps done; it has {sorted(checkpoint)}")
    state = find_state((_guess(checkpoint) if tx is None else tx).init(params))
    tree = memories(state, params)
    for leaf in tree.leaves:
        for stage, field, entry in _entries(leaf.memory):
            old = getattr(leaf.memory[stage], field)
            new = _decoded(entry, _value(checkpoint, entry, leaf, names), old)
            memory = leaf.memory[stage]._replace(**{field: jax.device_put(new, old.sharding)})
            leaf.memory = {**leaf.memory, stage: memory}
    count = jnp.asarray(steps_done("checkpoint['global_step']", checkpoint["global_step"]), state.count.dtype)
    return state._replace(count=count, leaves=tree.close_memories())


def save_state(
    state: OptState, params: Params, names: Names = None, tx: GradientTransformation | None = None
) -> dict[str, NDArray[Any]]:
    """Make what MindSpore's optimizer would save: `{"moment1.<name>": array, ..., "global_step": array}`.

    names: as in `load_state`; without it names are paths. tx: the optimizer, for the powers of Adam's betas; None
    leaves them out.
    Raises: ValueError if the state is not of an optimizer of this module.
    """
    check_names(names, params)
    if tx is not None:
        refuse_stranger(tx)
    ours = find_state(state)
    spelled = {path: name for name, path in (names or {}).items()}
    saved: dict[str, NDArray[Any]] = {}
    for leaf in memories(ours, params).leaves:
        for stage, field, entry in _entries(leaf.memory):
            name = spelled.get(leaf.path, leaf.path)
            saved[f"{entry}.{name}"] = _encoded(entry, np.array(getattr(leaf.memory[stage], field)), leaf)
    if not saved and jax.tree.leaves(ours.leaves):
        raise ValueError(f"the state is not of an optimizer of compat.mindspore, it keeps {ours.leaves!r}")
    step = int(ours.count)
    for rule in _rules(tx):
        if isinstance(rule, EpsilonHatAdam):
            saved |= {f"beta{i}_power": np.asarray(b**step, np.float32) for i, b in ((1, rule.b1), (2, rule.b2))}
    return {**saved, "global_step": np.array([step], np.int32)}


def _entries(memories: Mapping[str, Memory]) -> Iterator[tuple[str, str, str]]:
    """Stage, field, and the framework's name, for all that one parameter keeps."""
    for stage, memory in memories.items():
        for entry, field in ENTRIES.get(stage, {}).items():
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


def _guess(checkpoint: Mapping[str, Any]) -> Chain:
    """A transformation with the memory that the checkpoint fills."""
    kinds = {name.split(".", 1)[0] for name in checkpoint}
    if "moment1" in kinds:
        return kernel(lift(EpsilonHatAmsgrad() if "vhat" in kinds else EpsilonHatAdam()), "adam")
    if "moments" in kinds:
        return kernel(trace(0.9), "momentum", float64=True)
    if "accum" in kinds:
        return kernel(scale_by_rss(), "proximal_adagrad")
    raise ValueError(f"checkpoint must hold moments, moment1 or accum, or give tx; it holds {sorted(kinds)}")


def _rules(tx: GradientTransformation | None) -> Iterator[Rule]:
    """The rules of a chain, those of groups included, without what is wrapped around them."""
    for _, stage, _ in tx.each(Step(None, None, {}, {}, {}, None)) if isinstance(tx, Chain) else ():
        if stage.only_rule is not None:
            yield layers(stage.only_rule)[-1]
