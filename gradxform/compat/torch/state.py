"""torch's `optimizer.state_dict()`, with tensors or NumPy arrays, and the state of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gradxform.compat.common.checkpoints import memories, powers, shaped, steps_done
from gradxform.compat.common.groups import Groups, grouped
from gradxform.compat.torch.adadelta import adadelta
from gradxform.compat.torch.adafactor import adafactor
from gradxform.compat.torch.adagrad import adagrad
from gradxform.compat.torch.adam import adam, adamax, nadam, radam, sparse_adam
from gradxform.compat.torch.asgd import asgd
from gradxform.compat.torch.checks import REFUSALS
from gradxform.compat.torch.muon import muon
from gradxform.compat.torch.names import Names, Place, places
from gradxform.compat.torch.rmsprop import rmsprop
from gradxform.compat.torch.rprop import rprop
from gradxform.core.chain import Chain, chain
from gradxform.core.plain import got
from gradxform.core.state import State, find_state
from gradxform.core.transform import GradientTransformation, refuse_stranger
from gradxform.core.tree import Leaf
from gradxform.core.types import Array, Memory, OptState, Params
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
    "adafactor": {"step": "count", "variance": "variance"},
    "adafactor of matrices": {"step": "count", "row_var": "row_var", "col_var": "col_var"},
    "muon": {"momentum_buffer": "mu"},
    "asgd": {"step": "count", "eta": "eta", "mu": "mu", "ax": "ax"},
}
"""Stage -> what torch calls its statistics -> the field."""
SCALARS = {"step", "mu_product", "eta", "mu"}
FACTORS = {"row_var": "col_var", "col_var": "row_var"}
"""What has one of the last two axes only, and what it is where these stand turned here."""


def load_state(
    optimizer_state_dict: Mapping[str, Any],
    params: Params,
    names: Names = None,
    tx: GradientTransformation | None = None,
    *,
    step: int | None = None,
) -> State:
    """Make our state from `optimizer.state_dict()` of torch, to go on training where it stood.

    names: from torch's indices, which count through `param_groups`, or its names, to paths in `params`, or a list of
    paths in that order; `(path, "T")` for a path transposes what torch has (see the page "Optimizers of other
    frameworks"). None goes by `param_names`, or else takes the leaves of `params` in their own order. tx: the optimizer
    that goes on; None finds it by the options in `param_groups`. step: where schedules go on, `scheduler.last_epoch`;
    None takes the largest `step`, 0 for SGD. A parameter without an entry had no gradient yet, and begins anew.
    Raises: ValueError naming an entry that is missing or has another shape, parameters that only names could tell
    apart, and the options of an optimizer that `compat.torch` has not; TypeError if optimizer_state_dict is no state
    dict.
    """
    entries, groups = _parts(optimizer_state_dict)
    if tx is not None:
        refuse_stranger(tx)
    where = places(names, params, groups, anything=bool(entries))
    state = find_state((_rebuilt(groups, where) if tx is None else tx).init(params))
    tree, latest = memories(state, params), 0
    if names is None and (strange := [key for key in entries if key not in where]):
        raise ValueError(f"params has {len(where)} parameters, and optimizer_state_dict an entry {strange[0]!r} beyond")
    for leaf, key, place in _kept(tree.leaves, where):
        given = entries.get(key) or {}
        if given and groups is not None:
            place.refuse_unsaid(leaf.array.shape)
        loaded = {stage: _loaded(given, leaf, stage, key, place) for stage in leaf.memory}
        latest = max(latest, *(int(memory.count) if "count" in memory._fields else 0 for memory in loaded.values()))
        leaf.memory = loaded
    count = jnp.asarray(latest if step is None else steps_done("step", step), state.count.dtype)
    return state._replace(count=count, leaves=tree.close_memories())


def save_state(
    state: OptState, params: Params, names: Names = None, *, optimizer_state_dict: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Make the `state` of torch's `optimizer.state_dict()`: `{"state": {0: {"momentum_buffer": array}, ...}}`.

    The arrays are NumPy's; torch's optimizer keeps its own `param_groups`, and takes tensors:
    `opt.load_state_dict({**opt.state_dict(), "state": jax.tree.map(torch.as_tensor, saved["state"])})`.
    names: as in `load_state`. optimizer_state_dict: `opt.state_dict()` of the optimizer that goes on there, where
    torch's names find their indices.
    Raises: ValueError if the state is not of an optimizer of this module, and for names as `load_state`.
    """
    groups = None if optimizer_state_dict is None else _parts(optimizer_state_dict)[1]
    saved: dict[Any, list[dict[str, Any]]] = {}
    where = places(names, params, groups)
    for leaf, key, place in _kept(memories(state, params).leaves, where):
        if groups is not None:
            place.refuse_unsaid(leaf.array.shape)
        for stage, memory in leaf.memory.items():
            fields = entries_of(stage, memory)
            if not fields or not set(fields.values()) <= set(memory._fields):
                raise ValueError(
                    f"the state is not of an optimizer of compat.torch: for {leaf.path!r} it keeps {stage!r} with "
                    f"{', '.join(memory._fields)}"
                )
            if "seen" not in memory._fields or memory.seen:
                parts = saved.setdefault(key, [{} for _ in where[key]])
                n = leaf.array.ndim
                parts[place.part] |= {
                    e: _encoded(e, getattr(memory, _turned(f, place, n)), place) for e, f in fields.items()
                }
    return {"state": {key: _together(key, where[key], parts) for key, parts in saved.items()}}


def _kept(leaves: Sequence[Leaf], where: Mapping[Any, list[Place]]) -> Iterator[tuple[Leaf, Any, Place]]:
    """The leaves that keep something, with torch's index and the place there."""
    keys = {place.path: (key, place) for key, found in where.items() for place in found}
    for leaf in leaves:
        if not leaf.memory:
            continue
        if leaf.path not in keys:
            raise ValueError(
                f"names has no index for the parameter {leaf.path!r}, which keeps {next(iter(leaf.memory))!r}"
            )
        yield leaf, *keys[leaf.path]


def _together(key: Any, found: Sequence[Place], parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries of one parameter of torch's, whose parts are parameters here."""
    if absent := [place.path for place, part in zip(found, parts, strict=True) if part.keys() != parts[0].keys()]:
        raise ValueError(f"the state of {key!r} needs all its parts, and {absent[0]!r} has not what others have")
    return {
        e: x if e in SCALARS or len(parts) == 1 else np.concatenate([p[e] for p in parts]) for e, x in parts[0].items()
    }


def _parts(x: object) -> tuple[Mapping[Any, Any], Sequence[Mapping[str, Any]] | None]:
    """The entries by parameter, and the groups where there are any."""
    if not isinstance(x, Mapping) or not isinstance(x.get("state"), Mapping):
        raise TypeError(f"optimizer_state_dict must be a dict with 'state' in it, got {type(x).__name__}")
    groups = x.get("param_groups")
    if groups is not None and not all(isinstance(group, Mapping) and "params" in group for group in groups):
        raise ValueError(f"param_groups must be dicts with 'params' in each, {got(groups)}")
    return x["state"], groups


def _loaded(entries: Mapping[str, Any], leaf: Leaf, stage: str, key: Any, place: Place) -> Memory:
    """The memory of one stage with torch's entries of one parameter in it."""
    memory, ours = leaf.memory[stage], leaf.array.shape
    new: dict[str, Any] = {}
    for entry, field in entries_of(stage, memory).items():
        if field not in memory._fields or not entries or (entry == "momentum_buffer" and entries.get(entry, 0) is None):
            continue
        if entry not in entries:
            raise ValueError(f"state[{key!r}] has no {entry!r} for the parameter {leaf.path!r}, only {sorted(entries)}")
        field = _turned(field, place, len(ours))
        old = getattr(memory, field)
        shapes = [(), (1,)] if entry in SCALARS else [place.whole(old.shape)]
        value = shaped(f"{entry} of {key}", as_array(entries[entry]), leaf, shapes, place.advice())
        if entry == "mu_product":
            powers(f"{entry} of {key}", value)
        if entry == "step":
            steps_done(f"state[{key!r}]['step']", value)
        if np.iscomplexobj(value) and not jnp.iscomplexobj(old):
            raise ValueError(f"state[{key!r}] has a complex {entry!r} for {leaf.path!r}, where a square is real here")
        value = value.reshape(old.shape) if entry in SCALARS else place.read(value, old.shape)
        new[field] = jax.device_put(jnp.asarray(value, old.dtype), old.sharding)
    if "seen" in memory._fields and new:
        new["seen"] = jnp.ones_like(memory.seen)
    return memory._replace(**new)


def entries_of(stage: str, memory: Memory) -> Mapping[str, str]:
    """What torch calls the statistics of a stage, and the fields that they are."""
    return ENTRIES.get("adafactor of matrices" if "row_var" in memory._fields else stage, {})


def _turned(field: str, place: Place, n: int) -> str:
    """The field of a factor, the other one where torch's last two axes stand turned here."""
    return FACTORS[field] if field in FACTORS and place.swaps_last(n) else field


def as_array(x: Any) -> NDArray[Any]:
    """A tensor, an array or a number as a NumPy array, which has no bfloat16 and lives on the host."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = x.float() if str(x.dtype) == "torch.bfloat16" else x
    return np.asarray(x)


def _encoded(entry: str, value: Array, place: Place) -> NDArray[Any]:
    """A copy, for torch writes into its statistics; its steps are float32 numbers."""
    if entry in SCALARS:
        return np.array(value, np.float32 if entry == "step" else None)
    return np.array(place.write(np.asarray(value)), order="C")


def _sgd(groups: Groups | None) -> Chain:
    """What keeps the memory of torch's SGD."""
    return grouped(
        groups, {"momentum": 0.0}, lambda momentum: trace(0.0, first="gradient") if momentum else chain(), REFUSALS
    )


OPTIMIZERS: list[tuple[set[str], Callable[..., Chain]]] = [
    ({"dampening", "nesterov"}, _sgd),
    ({"ns_coefficients"}, muon),
    ({"beta2_decay"}, adafactor),
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


def _rebuilt(groups: Sequence[Mapping[str, Any]] | None, where: Mapping[Any, list[Place]]) -> Chain:
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
        entries.append({**taken, "params": [place.path for i in group["params"] for place in where.get(i, ())]})
    return make(groups=[entry for entry in entries if entry["params"]])
