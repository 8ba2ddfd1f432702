"""Our side of a live run: the same steps, the states handed over both ways, and what differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gradxform as gx
from gradxform.compat import mindspore, paddle, torch
from tests.compat import replay
from tests.compat.live.peer import Case, under
from tests.trajectories import double

ALLOWED = {"float32": 2e-6, "float64": 1e-12, "bfloat16": 2.0**-9}
"""Beside the largest value of a leaf, or 1 where that is larger."""
COMPILED = 10
"""Of so many configurations one is compiled: compiling takes longer than all the rest."""


class Handed(NamedTuple):
    """How states go in and out of a framework."""

    load: Callable[[dict[str, Any], Any, Any, dict[str, Any]], Any]
    save: Callable[[Any, Any, Any, dict[str, Any]], dict[str, Any]]


def torch_names(config: dict[str, Any]) -> dict[int, Any]:
    """Square kernels with the word that they stand as torch's do."""
    shapes = dict(config["leaves"])
    groups = config["groups"] or [{"params": [*shapes]}]
    listed = [leaf for group in groups for leaf in group["params"]]
    return dict(enumerate((leaf, "") if len({*shapes[leaf]}) < len(shapes[leaf]) else leaf for leaf in listed))


def load_torch(saved: dict[str, Any], params: Any, tx: Any, config: dict[str, Any]) -> Any:
    state: dict[int, dict[str, Any]] = {}
    for key, x in saved.items():
        i, name = key.split(".", 1)
        state.setdefault(int(i), {})[name] = x
    known = {"state": state, "param_groups": [{"params": [*torch_names(config)]}]}
    return torch.load_state(known, params, torch_names(config), tx, step=config["half"])


def save_torch(state: Any, params: Any, tx: Any, config: dict[str, Any]) -> dict[str, Any]:
    saved = torch.save_state(state, params, torch_names(config))["state"]
    return {f"{i}.{name}": np.asarray(x) for i, entry in saved.items() for name, x in entry.items()}


HANDED = {
    "paddle": Handed(
        lambda saved, params, tx, config: paddle.load_state(saved, params, tx=tx),
        lambda state, params, tx, config: paddle.save_state(state, params, tx=tx),
    ),
    "mindspore": Handed(
        lambda saved, params, tx, config: mindspore.load_state(saved, params, tx=tx),
        lambda state, params, tx, config: mindspore.save_state(state, params, tx=tx),
    ),
    "torch": Handed(load_torch, save_torch),
}


def awkward(x: Any, kind: str) -> Any:
    """The same array in memory that is not aligned, or may not be written."""
    found = np.ndarray(x.shape, x.dtype, np.empty(x.nbytes + 1, np.uint8), offset=int(kind == "unaligned"))
    found[...] = x
    found.flags.writeable = kind != "read-only"
    return found


def overwritten(given: dict[str, Any]) -> None:
    """Whoever gave the arrays goes on writing into them."""
    for x in given.values():
        if isinstance(x, np.ndarray) and x.flags.writeable and x.dtype.kind == "f":
            x[...] = np.nan


class Ours:
    """A configuration here, its step compiled or operation by operation."""

    def __init__(self, case: Case) -> None:
        self.case, self.config = case, case.config
        self.tx = replay.BUILDERS[self.config["framework"]].build(self.config)
        self.handed = HANDED[self.config["framework"]]

        @jax.jit
        def step(params: Any, state: Any, grads: Any) -> Any:
            updates, state = self.tx.update(grads, state, params)
            return gx.apply_updates(params, updates), state

        self.step = step

    def walked(self, params: Any, state: Any, first: int) -> Iterator[tuple[int, Any, Any]]:
        for t in range(first, self.config["n_steps"] + 1):
            params, state = self.step(params, state, replay.gradients(self.case.arrays, self.config, t))
            yield t, params, state

    def off(self, params: Any, t: int) -> str:
        """Where our parameters are not theirs after a step."""
        for leaf, w in params.items():
            if found := replay.compare(w, self.case.arrays[f"after/{t}/{leaf}"], allowed(self.config), 1.0):
                return f"{leaf} after step {t} {found}"
        return ""

    def differences(self) -> Iterator[str]:
        """Of the whole run, of what is saved, and of the second half from their state; `case` gets what we save."""
        half = self.config["half"]
        params = {leaf: jnp.asarray(w) for leaf, w in under("param/", self.case.arrays).items()}
        theirs = {key: awkward(x, self.config["memory"]) for key, x in under("saved/", self.case.arrays).items()}
        given = {**theirs, **self.config["saved"]}
        for t, now, state in self.walked(params, self.tx.init(params), 1):
            if found := self.off(now, t):
                yield found
                return
            if t == half:
                yield from self.saved(state, now)
        there = {leaf: jnp.asarray(w) for leaf, w in under(f"after/{half}/", self.case.arrays).items()}
        loaded = self.handed.load(given, there, self.tx, self.config)
        overwritten(given)
        for t, now, _ in self.walked(there, loaded, half + 1):
            if found := self.off(now, t):
                yield f"from their state {found}"
                return

    def saved(self, state: Any, params: Any) -> Iterator[str]:
        """What we save half-way beside what they do; differences of roots leave FTRL fewer digits."""
        ours = self.handed.save(state, params, self.tx, self.config)
        self.case.config["ours"] = {key: x for key, x in ours.items() if not isinstance(x, np.ndarray)}
        half, idle = self.config["half"], self.config.get("idle", ())
        close = 10 if self.config["optimizer"] == "FTRL" else 4
        theirs = {key: x for key, x in under("saved/", self.case.arrays).items() if key.split(".")[0] not in idle}
        kept = {key: x.copy() for key, x in ours.items() if isinstance(x, np.ndarray)}
        overwritten(ours)
        self.case.arrays.update({f"ours/{key}": x for key, x in kept.items()})
        self.case.arrays.update({f"half/{leaf}": np.asarray(w) for leaf, w in params.items()})
        leaves = [leaf for leaf, _ in self.config["leaves"]]
        told = [leaf for leaf in leaves if any(leaf in key for key in theirs.keys() - {*leaves})]
        for key in sorted((kept.keys() ^ theirs.keys()) - {*leaves}):
            if any(leaf in key for leaf in told):  # the others had no gradient yet
                yield f"at step {half} only one of the two saves {key}"
        for key in kept.keys() & theirs.keys():
            there = theirs[key].reshape(-1) if kept[key].shape == (1,) else theirs[key]  # which the peers take as well
            if found := replay.compare(kept[key], there, close * kept_within(self.config), 0.0):
                yield f"{key} saved at step {half} {found}"


def width(config: dict[str, Any]) -> Any:
    return double() if config["dtype"] == "float64" else replay.single()


def eager(config: dict[str, Any]) -> Any:
    return jax.disable_jit(int(config["case"]) % COMPILED > 0)


def allowed(config: dict[str, Any]) -> float:
    """Sums of bfloat16 products in another order round some elements of Muon's steps the other way."""
    return ALLOWED["bfloat16"] if config["optimizer"] == "Muon" else kept_within(config)


def kept_within(config: dict[str, Any]) -> float:
    """MindSpore computes schedules in float32, whatever the parameters are."""
    scheduled = config["framework"] == "mindspore" and '"type"' in json.dumps([config["kwargs"], config["groups"]])
    return ALLOWED["float32" if scheduled else config["dtype"]]
