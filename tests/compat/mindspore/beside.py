"""MindSpore's optimizers beside a transcript of what they execute."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import gradxform as gx
from gradxform.compat.mindspore.schedules import LearningRateSchedule
from tests.compat import mindspore_transcript

SHAPES = {"conv/kernel": (3, 16, 2), "bn/gamma": (4,), "bn/beta": (4,), "dense/kernel": (5, 7), "embed/table": (6, 16)}
STEPS = 5


class Linear(LearningRateSchedule):
    base: gx.Hyper
    slope: gx.Hyper

    def construct(self, global_step: Any) -> Any:
        return self.base + self.slope * global_step


def pair(kind: str, base: float, slope: float) -> tuple[Any, Any]:
    """A hyperparameter for ours and for the transcript: a number, a vector, or a schedule."""
    if kind == "number":
        return base, base
    if kind == "vector":
        values = [base + slope * s for s in range(STEPS)]
        return values, values
    return Linear(base, slope), lambda s: base + slope * s


small = st.floats(0.0, 0.3).map(lambda x: round(x, 3))
rates = st.builds(pair, st.sampled_from(["number", "vector", "schedule"]), small, small.map(lambda x: x / 10))
decays = st.builds(pair, st.sampled_from(["number", "schedule"]), small, small.map(lambda x: x / 10))
fractions = st.floats(0.3, 0.95).map(lambda x: round(x, 2))
positive = st.floats(0.01, 0.5).map(lambda x: round(x, 2))


def data(seed: int, scale: float, sparse: bool) -> tuple[Any, Any, Any]:
    """Parameters, gradients as they are handed to ours, and to the transcript."""
    rng = np.random.default_rng(seed)
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    ours, theirs = [], []
    for _ in range(STEPS):
        dense = {name: np.float32(scale) * rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
        theirs.append(dict(dense))
        ours.append(dict(dense))
        if sparse:
            indices = rng.integers(0, 6, 5)
            values = np.float32(scale) * rng.normal(size=(5, 16)).astype(np.float32)
            theirs[-1]["embed/table"] = indices, values
            ours[-1]["embed/table"] = gx.Rows(indices, values, (6, 16))
    return params, ours, theirs


def compare(
    make: Any, rule: Any, options: Any, rate: Any, decay: Any, loss_scale: float, groups: Any, seed: int, sparse: bool
) -> None:
    """groups: None, or `(rate or None, decay or None, centralized)` for two groups of leaves."""
    params, grads, theirs = data(seed, loss_scale, sparse)
    shared = {"lr": rate[1], "decay": decay[1], "loss_scale": loss_scale, "centralized": False}
    each: dict[str, Any] = {name: {"decay": 0.0} for name in ("bn/gamma", "bn/beta")}
    entries = None
    if groups is not None:
        each, entries = {}, []
        for (lr, wd, centralized), names in zip(
            groups, (["conv/kernel", "bn/gamma"], ["bn/beta", "dense/kernel", "embed/table"]), strict=True
        ):
            centralized = centralized and not (sparse and "embed/table" in names)  # refused, there as here
            entry, said = {"params": names, "grad_centralization": centralized}, {"centralized": centralized}
            if lr is not None:
                entry["lr"], said["lr"] = lr
            if wd is not None:
                entry["weight_decay"], said["decay"] = wd
            entries.append(entry)
            each |= dict.fromkeys(names, said)
        dynamic = any(not isinstance(lr[1], float) for lr, *_ in [(rate,), *groups] if lr is not None)
        if dynamic and any(lr is not None for lr, *_ in groups):
            for said in [shared, *each.values()]:
                if isinstance(said.get("lr"), float):
                    said["lr"] = float(np.float32(said["lr"]) + np.float32(1) - np.float32(1))
    tx = make(learning_rate=rate[0], weight_decay=decay[0], loss_scale=loss_scale, groups=entries, **options)
    expected = mindspore_transcript.run(rule, params, theirs, shared, each, options)
    state = tx.init(params)
    for now, then in zip(grads, expected, strict=True):
        updates, state = tx.update(now, state, params)
        params = gx.apply_updates(params, updates)
        for name, w in then.items():
            # Five steps in float32; Adam's quotients lose a digit where the moments are small.
            np.testing.assert_allclose(params[name], w, rtol=0, atol=4e-6 * max(1.0, np.abs(w).max()))


def cases(options: Any, sparse: bool = True) -> Any:
    group = st.tuples(st.none() | rates, st.none() | decays, st.booleans())
    return given(
        options=options,
        rate=rates,
        decay=decays,
        loss_scale=st.sampled_from([1.0, 128.0, 1000.0]),
        groups=st.none() | st.tuples(group, group),
        seed=st.integers(0, 1000),
        sparse=st.booleans() if sparse else st.just(False),
    )
