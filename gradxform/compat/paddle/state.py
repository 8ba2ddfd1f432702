"""paddle's `optimizer.state_dict()`, as dicts of NumPy arrays, and the state of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
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
from gradxform.compat.paddle.names import prefix_of
from gradxform.compat.paddle.schedules.decays import LRScheduler
from gradxform.compat.paddle.schedules.warmups import LinearWarmup
from gradxform.core.chain import Chain
from gradxform.core.facts import Station
from gradxform.core.hyper import Schedule
from gradxform.core.stage import Step
from gradxform.core.state import State, find_state
from gradxform.core.transform import GradientTransformation, refuse_stranger
from gradxform.core.tree import Leaf
from gradxform.core.types import Array, OptState, Params, Path
from gradxform.transforms.momentum import trace

MOMENTS = {"moment1": "mu", "moment2": "nu", "moment2_max": "nu_max"}
POWERS = {"beta1_pow_acc": "b1_power", "beta2_pow_acc": "b2_power"}
ENTRIES = {
    "trace": {"velocity": "trace"},
    "adam": {**MOMENTS, **POWERS},
    "adamax": {"moment": "mu", "inf_norm": "nu", **POWERS},
    "nadam": {**MOMENTS, "mu_product": "mu_product", "momentum_decay_pow": "decay_power", "beta2_pow": "b2_power"},
    "radam": {**MOMENTS, "beta1_pow": "b1_power", "beta2_pow": "b2_power", "rho": "rho"},
    "rss": {"moment": "sum_of_squares"},
    "adadelta": {"_avg_squared_grad": "e_g", "_avg_squared_update": "e_x"},
    "rms": {"mean_square": "nu"},
    "stddev": {"mean_square": "nu", "mean_grad": "mu"},
    "rmsprop_moment": {"momentum": "trace"},
}
"""Stage -> what the framework calls its statistics -> the field."""
SPREAD = {"mu_product", "momentum_decay_pow", "beta1_pow", "beta2_pow"}
"""Products that the framework keeps in every element, as it does RAdam's `rho`."""
SAVED = {entry for entries in ENTRIES.values() for entry in entries}
"""All that the framework calls a statistic or a counter."""


def load_state(
    checkpoint: Mapping[str, Any],
    params: Params,
    names: Names = None,
    tx: GradientTransformation | None = None,
    *,
    step: int | None = None,
) -> State:
    """Make our state from `optimizer.state_dict()` of paddle, to go on training where it stood.

    checkpoint: `{"<name>_velocity_0": array, ..., "LR_Scheduler": {"last_epoch": n}}`; other entries are ignored. A
    parameter without entries has had no gradient yet, and begins anew, unless there are entries of unknown parameters.
    names: from the framework's parameter names (`"linear_0.w_0"`) to paths in `params`; None takes the path itself,
    with `.` or `/` between names. tx: the optimizer that goes on, of this module; None stands for `momentum`.
    step: where schedules go on; None takes `last_epoch`, or 0 without it: paddle counts no steps but those of a
    scheduler, so one that it steps once an epoch of n updates needs `step=last_epoch * n`.
    Raises: ValueError naming an entry that is missing, has another shape, or is a power outside [0, 1]; TypeError if
    checkpoint is no mapping.
    """
    checkpoint = read(checkpoint)
    check_names(names, params)
    if tx is None and not any("_velocity_" in str(key) for key in checkpoint):
        raise ValueError(f"checkpoint must hold <name>_velocity_0, or give tx, the optimizer; it has {[*checkpoint]}")
    tx = trace(0.9) if tx is None else tx
    refuse_stranger(tx)
    state = find_state(tx.init(params))
    tree = memories(state, params)
    checkpoint, stems = _plain(checkpoint, prefix_of(tx, tree.leaves))
    known = _known(stems, tree.leaves, names)
    for leaf in tree.leaves:
        for stage, memory in leaf.memory.items() if known is None or leaf.path in known else ():
            new = {f: _decoded(checkpoint, e, leaf, names, getattr(memory, f)) for e, f in _entries(leaf, stage)}
            placed = {field: jax.device_put(x, getattr(memory, field).sharding) for field, x in new.items()}
            leaf.memory = {**leaf.memory, stage: memory._replace(**placed)}
    count = _count(checkpoint, tx) if step is None else steps_done("step", step)
    return state._replace(count=jnp.asarray(count, state.count.dtype), leaves=tree.close_memories())


def save_state(
    state: OptState, params: Params, names: Names = None, tx: GradientTransformation | None = None
) -> dict[str, Any]:
    """Make what paddle's `optimizer.state_dict()` would be: `{"<name>_velocity_0": array, ...}`.

    names: as in `load_state`; without it names are paths. tx: the optimizer, for its `name` and its learning rate's
    schedule; None leaves them out.
    Raises: ValueError if the state is not of an optimizer of this module.
    """
    check_names(names, params)
    if tx is not None:
        refuse_stranger(tx)
    ours = find_state(state)
    spelled = {path: name for name, path in (names or {}).items()}
    saved: dict[str, Any] = {}
    leaves = memories(ours, params).leaves
    prefix = prefix_of(tx, leaves)
    for leaf in leaves:
        entries: dict[str, NDArray[Any]] = {}
        for stage, memory in leaf.memory.items():
            entries |= {e: _encoded(e, np.array(getattr(memory, f)), leaf) for e, f in _entries(leaf, stage)}
            if stage == "rms":
                entries["mean_grad"] = np.zeros_like(entries["mean_square"])
        name = f"{spelled.get(leaf.path, leaf.path)}_{prefix}"
        saved |= {f"{name}{entry}_0": x for entry, x in entries.items()}
    if not saved and jax.tree.leaves(ours.leaves):
        raise ValueError(f"the state is not of an optimizer of compat.paddle, it keeps {ours.leaves!r}")
    if (rate := _schedule(tx)) is not None:
        saved["LR_Scheduler"] = _scheduler(rate, int(ours.count))
    return saved


def _plain(checkpoint: Mapping[str, Any], prefix: str) -> tuple[dict[str, Any], set[str]]:
    """The entries without the optimizer's name, all with 0 for the number of their making, and whose they are."""
    pattern = re.compile(rf"(.*?)_{re.escape(prefix)}({'|'.join(sorted(SAVED, key=len, reverse=True))})_\d+")
    plain, stems = {}, set()
    for key, x in checkpoint.items():
        match = pattern.fullmatch(str(key))
        name = f"{match[1]}_{match[2]}_0" if match else key
        if name in plain:
            raise ValueError(f"checkpoint must have one entry for each statistic, and it has {key!r} beside another")
        plain[name] = x
        stems |= {match[1]} if match else set()
    return plain, stems


def _known(stems: set[str], leaves: Sequence[Leaf], names: Names) -> set[Path] | None:
    """The parameters of which the checkpoint has entries, if all of its entries are some parameter's; else None."""
    paths = {name: leaf.path for leaf in leaves for name in spellings(leaf.path, names)}
    return {paths[stem] for stem in stems} if stems and stems <= paths.keys() else None


def _entries(leaf: Leaf, stage: str) -> Iterator[tuple[str, str]]:
    """The framework's name and the field, for what a stage keeps of one parameter."""
    kept = leaf.memory[stage]._fields
    return ((entry, field) for entry, field in ENTRIES.get(stage, {}).items() if field in kept)


def _encoded(entry: str, value: NDArray[Any], leaf: Leaf) -> NDArray[Any]:
    """As the framework keeps it: scalars of NAdam and RAdam in every element, RMSProp's momentum with its sign."""
    if entry in POWERS:
        return value.reshape(1)
    if entry in SPREAD or entry == "rho":
        return np.full(leaf.array.shape, value)
    return -value if entry == "momentum" else value


def _decoded(checkpoint: Mapping[str, Any], entry: str, leaf: Leaf, names: Names, old: Array) -> Array:
    value = _entry(checkpoint, entry, leaf, names, [(), (1,)] if entry in POWERS else None)
    if old.ndim == 0 and value.ndim:
        value = value.reshape(-1)[:1].reshape(()) if value.size else np.ones(())
    return jnp.asarray(-value if entry == "momentum" else value, old.dtype)


def _entry(
    checkpoint: Mapping[str, Any],
    entry: str,
    leaf: Leaf,
    names: Names,
    shapes: Sequence[tuple[int, ...]] | None = None,
) -> NDArray[Any]:
    tried = spellings(leaf.path, names)
    for key in (f"{name}_{entry}_0" for name in tried):
        if key in checkpoint:
            value = shaped(key, checkpoint[key], leaf, shapes)
            return powers(key, value) if entry in POWERS or entry in SPREAD else value
    raise ValueError(f"checkpoint has no entry <name>_{entry}_0 for the parameter {leaf.path!r} (tried {tried!r})")


def _count(checkpoint: Mapping[str, Any], tx: GradientTransformation) -> int:
    """How often the scheduler has stepped since the schedule here began; 0 without one."""
    if "LR_Scheduler" not in checkpoint:
        return 0
    scheduler, begun = checkpoint["LR_Scheduler"], _begun(_schedule(tx))
    last = scheduler.get("last_epoch", begun) if isinstance(scheduler, Mapping) else scheduler
    if (steps := steps_done("last_epoch of LR_Scheduler", last)) < begun:
        raise ValueError(f"last_epoch of LR_Scheduler is {steps}, and the schedule of tx begins at {begun}")
    return steps - begun


def _begun(rate: Schedule | None) -> int:
    """Where a scheduler stands before the first step."""
    fields: Any = rate
    return fields.last_epoch + 1 if isinstance(rate, LRScheduler) else 0


def _scheduler(rate: Schedule, count: int) -> dict[str, Any]:
    """What the framework saves of a scheduler after so many steps; what follows a warm-up waits for its end."""
    last = count + _begun(rate)
    saved: dict[str, Any] = {"last_epoch": last, "last_lr": float(rate(jnp.asarray(count)))}
    if isinstance(rate, LinearWarmup) and isinstance(after := rate.learning_rate, Schedule):
        done = last - rate.warmup_steps
        started = done >= 0 and isinstance(after, LRScheduler)
        saved["LinearWarmup_LR"] = _scheduler(after.with_fields(last_epoch=-1) if started else after, max(done, 0))
    return saved


def _schedule(tx: GradientTransformation | None) -> Schedule | None:
    """The schedule of the learning rate, if there is one."""
    for _, stage, _ in tx.each(Step(None, None, {}, {}, {}, None)) if isinstance(tx, Chain) else ():
        if stage.facts.station == Station.STEP:
            rate = getattr(stage.only_rule, "learning_rate", None)
            return rate if isinstance(rate, Schedule) else None
    return None
