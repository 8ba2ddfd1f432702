"""torch's `optimizer.state_dict()`, with tensors or NumPy arrays, and the state of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gradxform.compat.common.checkpoints import memories, powers, shaped, steps_done
from gradxform.compat.common.groups import Groups, grouped
from gradxform.compat.torch.adadelta import adadelta
from gradxform.compat.torch.adagrad import adagrad
from gradxform.compat.torch.adam import adam, adamax, nadam, radam, sparse_adam
from gradxform.compat.torch.asgd import asgd
from gradxform.compat.torch.checks import REFUSALS
from gradxform.compat.torch.rmsprop import rmsprop
from gradxform.compat.torch.rprop import rprop
from gradxform.core.chain import Chain, chain
from gradxform.core.plain import got
from gradxform.core.state import State, find_state
from gradxform.core.transform import GradientTransformation, refuse_stranger
from gradxform.core.tree import Leaf, open_tree
from gradxform.core.types import Array, Memory, OptState, Params, Path
from gradxform.transforms.momentum import trace

MOMENTS = {"step": "count", "exp_avg": "mu", "exp_avg_sq": "nu"}
ENTRIES = {
    "trace": {"momentum_buffer": "trace"},
    "adam": MOMENTS,
    "amsgrad": {**MOMENTS, "max_exp_avg_sq": "nu_max"},
    "adamax": {"step": "count", "exp_avg": "mu", "exp_inf": "nu"},
    "nadam": {**MOMENTS, "mu_product": "mu_product"},
    "radam": MOMENTS,
    "rms": {"step": "count", "square_avg": "nu"},
    "stddev": {"step": "count", "square_avg": "nu", "grad_avg": "mu"},
    "rss": {"step": "count", "sum": "sum_of_squares"},
    "adadelta": {"step": "count", "square_avg": "e_g", "acc_delta": "e_x"},
    "rprop": {"step": "count", "prev": "prev", "step_size": "step_size"},
    "asgd": {"step": "count", "eta": "eta", "mu": "mu", "ax": "ax"},
}
"""Stage -> what torch calls its statistics -> the field."""
SCALARS = {"step", "mu_product", "eta", "mu"}

Names: TypeAlias = Mapping[Any, Path] | Sequence[Path] | None
"""From torch's indices of parameters to paths, or the paths in that order; None where the order is that of `params`."""


def load_state(
    optimizer_state_dict: Mapping[str, Any],
    params: Params,
    names: Names = None,
    tx: GradientTransformation | None = None,
    *,
    step: int | None = None,
) -> State:
    """Make our state from `optimizer.state_dict()` of torch, to go on training where it stood.

    names: from torch's indices, which count through `param_groups`, to paths in `params`, or a list of paths in that
    order; None takes the leaves of `params` in their own. tx: the optimizer that goes on; None finds it by the options
    in `param_groups`. step: where schedules go on, `scheduler.last_epoch`; None takes the largest `step`, 0 for SGD.
    A parameter without an entry had no gradient yet, and begins anew.
    Raises: ValueError naming an entry that is missing or has another shape, and the options of an optimizer that
    `compat.torch` has not; TypeError if optimizer_state_dict is no state dict.
    """
    entries, groups = _parts(optimizer_state_dict)
    if tx is not None:
        refuse_stranger(tx)
    where = _where(names, params, None if groups is None else [i for group in groups for i in group["params"]])
    state = find_state((_rebuilt(groups, where) if tx is None else tx).init(params))
    keys = {path: key for key, path in where.items()}
    tree, latest = memories(state, params), 0
    if names is None and (strange := [key for key in entries if key not in where]):
        raise ValueError(f"params has {len(where)} parameters, and optimizer_state_dict an entry {strange[0]!r} beyond")
    for leaf in tree.leaves:
        for stage in leaf.memory:
            if leaf.path not in keys:
                raise ValueError(f"names has no index for the parameter {leaf.path!r}, which keeps {stage!r}")
            memory = _loaded(entries.get(keys[leaf.path]) or {}, leaf, stage, keys[leaf.path])
            latest = max(latest, int(memory.count) if "count" in memory._fields else 0)
            leaf.memory = {**leaf.memory, stage: memory}
    count = jnp.asarray(latest if step is None else steps_done("step", step), state.count.dtype)
    return state._replace(count=count, leaves=tree.close_memories())


def save_state(state: OptState, params: Params, names: Names = None) -> dict[str, Any]:
    """Make the `state` of torch's `optimizer.state_dict()`: `{"state": {0: {"momentum_buffer": array}, ...}}`.

    The arrays are NumPy's; torch's optimizer keeps its own `param_groups`, and takes tensors:
    `opt.load_state_dict({**opt.state_dict(), "state": jax.tree.map(torch.as_tensor, saved["state"])})`.
    names: as in `load_state`.
    Raises: ValueError if the state is not of an optimizer of this module.
    """
    keys = {path: key for key, path in _where(names, params, None).items()}
    saved: dict[Any, dict[str, Any]] = {}
    for leaf in memories(state, params).leaves:
        for stage, memory in leaf.memory.items():
            fields = ENTRIES.get(stage, {})
            if not fields or not set(fields.values()) <= set(memory._fields):
                raise ValueError(
                    f"the state is not of an optimizer of compat.torch: for {leaf.path!r} it keeps {stage!r} with "
                    f"{', '.join(memory._fields)}"
                )
            if leaf.path not in keys:
                raise ValueError(f"names has no index for the parameter {leaf.path!r}, which keeps {stage!r}")
            if "seen" not in memory._fields or memory.seen:
                entries = {entry: _encoded(entry, getattr(memory, field)) for entry, field in fields.items()}
                saved.setdefault(keys[leaf.path], {}).update(entries)
    return {"state": saved}


def _parts(x: object) -> tuple[Mapping[Any, Any], Sequence[Mapping[str, Any]] | None]:
    """The entries by parameter, and the groups where there are any."""
    if not isinstance(x, Mapping) or not isinstance(x.get("state"), Mapping):
        raise TypeError(f"optimizer_state_dict must be a dict with 'state' in it, got {type(x).__name__}")
    groups = x.get("param_groups")
    if groups is not None and not all(isinstance(group, Mapping) and "params" in group for group in groups):
        raise ValueError(f"param_groups must be dicts with 'params' in each, {got(groups)}")
    return x["state"], groups


def _where(names: Names, params: Params, known: Sequence[Any] | None) -> dict[Any, Path]:
    """From torch's index to the path."""
    paths = [path for path, p in zip(*open_tree(params)[:2], strict=True) if p is not None]
    if names is not None and (isinstance(names, str) or not isinstance(names, Mapping | Sequence)):
        raise TypeError(f"names must map indices to paths, or list paths, {got(names)}")
    if names is None and known is not None and len(known) != len(paths):
        raise ValueError(f"param_groups have {len(known)} parameters, params {len(paths)}: {paths}; give names")
    if names is None:
        where = dict(zip(known or range(len(paths)), paths, strict=True))
    else:
        where = dict(names) if isinstance(names, Mapping) else dict(enumerate(names))
    for key, path in where.items():
        if path not in paths:
            raise ValueError(f"names must lead to parameters, and {key!r} leads to {path!r}; there are {paths}")
        if known is not None and key not in known:
            raise ValueError(f"names has index {key!r} for {path!r}, and param_groups have only {list(known)}")
    if len(set(where.values())) < len(where):
        raise ValueError(f"names must lead to every parameter once, got {where}")
    return where


def _loaded(entries: Mapping[str, Any], leaf: Leaf, stage: str, key: Any) -> Memory:
    """The memory of one stage with torch's entries of one parameter in it."""
    memory = leaf.memory[stage]
    new: dict[str, Any] = {}
    for entry, field in ENTRIES.get(stage, {}).items():
        if field not in memory._fields or not entries or (entry == "momentum_buffer" and entries.get(entry, 0) is None):
            continue
        if entry not in entries:
            raise ValueError(f"state[{key!r}] has no {entry!r} for the parameter {leaf.path!r}, only {sorted(entries)}")
        value = shaped(f"{entry} of {key}", as_array(entries[entry]), leaf, [(), (1,)] if entry in SCALARS else None)
        old = getattr(memory, field)
        if entry == "mu_product":
            powers(f"{entry} of {key}", value)
        if entry == "step":
            steps_done(f"state[{key!r}]['step']", value)
        if np.iscomplexobj(value) and not jnp.iscomplexobj(old):
            raise ValueError(f"state[{key!r}] has a complex {entry!r} for {leaf.path!r}, where a square is real here")
        new[field] = jax.device_put(jnp.asarray(value.reshape(old.shape), old.dtype), old.sharding)
    if "seen" in memory._fields and new:
        new["seen"] = jnp.ones_like(memory.seen)
    return memory._replace(**new)


def as_array(x: Any) -> NDArray[Any]:
    """A tensor, an array or a number as a NumPy array, which has no bfloat16 and lives on the host."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = x.float() if str(x.dtype) == "torch.bfloat16" else x
    return np.asarray(x)


def _encoded(entry: str, value: Array) -> NDArray[Any]:
    """A copy, for torch writes into its statistics; its steps are float32 numbers."""
    return np.array(value, np.float32 if entry == "step" else None)


def _sgd(groups: Groups | None) -> Chain:
    """What keeps the memory of torch's SGD."""
    return grouped(
        groups, {"momentum": 0.0}, lambda momentum: trace(0.0, first="gradient") if momentum else chain(), REFUSALS
    )


OPTIMIZERS: list[tuple[set[str], Callable[..., Chain]]] = [
    ({"dampening", "nesterov"}, _sgd),
    ({"betas", "amsgrad"}, adam),
    ({"betas", "momentum_decay"}, nadam),
    ({"betas", "decoupled_weight_decay"}, radam),
    ({"betas", "weight_decay"}, adamax),
    ({"betas"}, sparse_adam),
    ({"alpha", "centered"}, rmsprop),
    ({"lr_decay", "initial_accumulator_value"}, adagrad),
    ({"rho"}, adadelta),
    ({"etas", "step_sizes"}, rprop),
    ({"lambd", "t0"}, asgd),
]
"""Options that a group of torch's optimizer has, of which the first ones that fit tell which it is."""


def _rebuilt(groups: Sequence[Mapping[str, Any]] | None, where: Mapping[Any, Path]) -> Chain:
    """An optimizer that keeps what torch's kept for the same groups."""
    if not groups:
        raise ValueError(f"optimizer_state_dict must have param_groups, or give tx, the optimizer; {got(groups)}")
    options = {key for key in groups[0] if key != "params"}
    make = next((make for told, make in OPTIMIZERS if told <= options), None)
    if make is None:
        raise ValueError(f"no optimizer of compat.torch has the options {sorted(options)}; give tx, the optimizer")
    entries = []
    for group in groups:
        taken = {key: jax.tree.map(lambda x: as_array(x) if hasattr(x, "shape") else x, x) for key, x in group.items()}
        entries.append({**taken, "params": [where[i] for i in group["params"] if i in where]})
    return make(groups=[entry for entry in entries if entry["params"]])
