"""MindSpore's checkpoints of its optimizers, as dicts of NumPy arrays, and the state of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.compat import mindspore
from gradxform.compat.mindspore_rules import EpsilonHatAdam
from gradxform.core.chain import Chain
from gradxform.core.lift import Lifted, Step
from gradxform.core.rows import is_row_leaf
from gradxform.core.rule import Rule, Wrapper
from gradxform.core.state import State, find_state
from gradxform.core.tree import Opened, open_together

ENTRIES = {
    "momentum": {"moments": "trace"},
    "adam": {"moment1": "mu", "moment2": "nu", "vhat": "nu_max"},
    "proximal_adagrad": {"accum": "sum_of_squares"},
}
"""Stage -> what the framework calls its statistics -> the field."""


def load_state(checkpoint: Mapping[str, Any], params: Any, names: Mapping[str, str] | None = None, tx: Any = None) -> State:
    """Make our state from a checkpoint of MindSpore's optimizer, to go on training at its `global_step`.

    checkpoint: `{"moment1.<name>": array, ..., "global_step": array}`; other entries are ignored. names: from the
    framework's parameter names to paths in `params`; None takes the path itself, with `.` or `/` between names.
    tx: the optimizer that goes on, from this module; None finds out which of momentum, adam and proximal_adagrad it was.
    Raises: ValueError naming an entry that is missing or has another shape; TypeError if checkpoint is no mapping.
    """
    if not isinstance(checkpoint, Mapping):
        raise TypeError(f"checkpoint must map names to arrays, got {checkpoint!r} of type {type(checkpoint).__name__}")
    state = find_state((tx or _guess(checkpoint)).init(params))
    if "global_step" not in checkpoint:
        raise ValueError("checkpoint has no entry 'global_step', the number of steps done")
    count = jnp.asarray(np.asarray(checkpoint["global_step"]).reshape(()), state.count.dtype)
    opened = _opened(state, params)
    for leaf in opened.leaves:
        for stage, field, entry in _entries(leaf.memory):
            held = leaf.memory[stage]
            new = _found(checkpoint, entry, leaf.path, names, getattr(held, field))
            leaf.memory = {**leaf.memory, stage: held._replace(**{field: new})}
    return state._replace(count=count, leaves=opened.close_memories())


def save_state(state: Any, params: Any, names: Mapping[str, str] | None = None, tx: Any = None) -> dict[str, Any]:
    """Make what MindSpore's optimizer would save from our state: `{"moment1.<name>": array, ..., "global_step": array}`.

    names: as in `load_state`; without it names are paths. tx: the optimizer, for the powers of Adam's betas; None
    leaves them out.
    Raises: ValueError if the state is not of an optimizer of this module.
    """
    found = find_state(state)
    spelled = {path: name for name, path in (names or {}).items()}
    saved = {
        f"{entry}.{spelled.get(leaf.path, leaf.path)}": np.asarray(getattr(leaf.memory[stage], field))
        for leaf in _opened(found, params).leaves
        for stage, field, entry in _entries(leaf.memory)
    }
    if not saved and jax.tree.leaves(params):
        raise ValueError(f"the state is not of an optimizer of compat.mindspore; it keeps {found.leaves!r}")
    step = int(found.count)
    for rule in _rules(tx):
        if isinstance(rule, EpsilonHatAdam):
            saved["beta1_power"] = np.float32(rule.b1**step)
            saved["beta2_power"] = np.float32(rule.b2**step)
    return {**saved, "global_step": np.array([step], np.int32)}


def _opened(state: State, params: Any) -> Opened:
    nothing = jax.tree.map(lambda p: None, params, is_leaf=is_row_leaf)
    return open_together(nothing, params, state.leaves)


def _entries(memory: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Stage, field, and the framework's name, for all that one parameter keeps."""
    for stage, held in memory.items():
        for entry, field in ENTRIES.get(stage, {}).items():
            if hasattr(held, field):
                yield stage, field, entry


def _found(checkpoint: Mapping[str, Any], entry: str, path: str, names: Mapping[str, str] | None, held: Any) -> Any:
    """One array of a checkpoint, in the dtype and at the place of the one held."""
    spellings = [path, path.replace("/", ".")] if names is None else [n for n, p in names.items() if p == path]
    known = [f"{entry}.{name}" for name in spellings if f"{entry}.{name}" in checkpoint]
    if not known:
        raise ValueError(f"checkpoint has no entry {entry}.<name> for the parameter {path!r} (tried {spellings!r})")
    value = np.asarray(checkpoint[known[0]])
    if value.shape != held.shape:
        raise ValueError(f"checkpoint has an array of shape {value.shape} as {known[0]!r}, and {path!r} is {held.shape}")
    return jax.device_put(jnp.asarray(value, held.dtype), held.sharding)


def _guess(checkpoint: Mapping[str, Any]) -> Chain:
    kinds = {name.split(".", 1)[0] for name in checkpoint}
    if "moment1" in kinds:
        return mindspore.adam(use_amsgrad="vhat" in kinds)
    if "moments" in kinds:
        return mindspore.momentum(0.1, 0.9)
    if "accum" in kinds:
        return mindspore.proximal_adagrad()
    raise ValueError(f"checkpoint must hold moments, moment1 or accum, or give tx; it holds {sorted(kinds)}")


def _rules(tx: Any) -> Iterator[Rule]:
    if isinstance(tx, Chain):
        for _, stage, _ in tx.each(Step(None, None, {}, {}, {}, None)):
            if isinstance(stage, Lifted):
                rule = stage.rule
                while isinstance(rule, Wrapper):
                    rule = rule.rule
                yield rule
