"""paddle's Momentum against a transcript of what it executes; `test_replay.py` has recorded runs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import gradxform as gx
from gradxform.compat import paddle, paddle_schedules
from tests.compat.paddle_transcript import transcript
from tests.trajectories import double

SHAPES = {"conv/kernel": (3, 4, 2), "bn/gamma": (4,), "bn/beta": (4,), "dense/kernel": (5, 3), "dense/bias": (3,)}
FIRST, SECOND = ("conv/kernel", "bn/gamma"), ("bn/beta", "dense/kernel")
STEPS = 5
small = st.floats(0.01, 0.3).map(lambda x: round(x, 3))
decays = st.none() | st.tuples(st.sampled_from(["L1", "L2"]), small)
clips = st.none() | st.tuples(st.sampled_from(["value", "global"]), small.map(lambda x: 10 * x))

options = st.fixed_dictionaries(
    {"momentum": small, "use_nesterov": st.booleans(), "weight_decay": decays, "grad_clip": clips}
)

attributes = st.fixed_dictionaries(
    {}, optional={"learning_rate": small, "regularizer": decays, "need_clip": st.booleans()}
)

RATES: dict[str, tuple[Any, Any]] = {
    "number": (0.1, lambda k: 0.1),
    "StepDecay": (paddle_schedules.StepDecay(0.1, 2, 0.5), lambda k: 0.1 * 0.5 ** (k // 2)),
    "InverseTimeDecay": (paddle_schedules.InverseTimeDecay(0.1, 0.5), lambda k: 0.1 / (1 + 0.5 * k)),
    "PolynomialDecay": (
        paddle_schedules.PolynomialDecay(0.1, 3, end_lr=0.01),
        lambda k: 0.09 * (1 - min(k, 3) / 3) + 0.01,
    ),
}


def real(key: str, x: Any) -> Any:
    """An option for ours from that of the transcript."""
    if x is None or key not in ("weight_decay", "regularizer", "grad_clip"):
        return x
    kind, by = x
    if key == "grad_clip":
        made = {"norm": paddle.ClipGradByNorm, "global": paddle.ClipGradByGlobalNorm}
        return paddle.ClipGradByValue(by, -by / 2) if kind == "value" else made[kind](by)
    return (paddle.L1Decay if kind == "L1" else paddle.L2Decay)(by)


def ours(given: dict[str, Any]) -> dict[str, Any]:
    return {key: real(key, x) for key, x in given.items()}


def data(seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    params = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    return params, [{name: rng.normal(size=shape) for name, shape in SHAPES.items()} for _ in range(STEPS)]


def trained(tx: gx.GradientTransformation, params: Any, grads: Any) -> Any:
    params = {name: jnp.asarray(w) for name, w in params.items()}
    state = tx.init(params)
    for now in grads:
        updates, state = tx.update({name: jnp.asarray(g) for name, g in now.items()}, state, params)
        params = gx.apply_updates(params, updates)
    return params


@given(
    base=options,
    changes=st.none()
    | st.tuples(
        *[
            st.fixed_dictionaries(
                {},
                optional={
                    "momentum": small,
                    "use_nesterov": st.booleans(),
                    "weight_decay": decays,
                    "grad_clip": clips,
                    "learning_rate": small,
                },
            )
        ]
        * 2
    ),
    attribute=attributes,
    frozen=st.booleans(),
    rate=st.sampled_from(sorted(RATES)),
    seed=st.integers(0, 1000),
)
def test_momentum(base: Any, changes: Any, attribute: Any, frozen: bool, rate: str, seed: int) -> None:
    """In float64, to rounding."""
    params, grads = data(seed)
    start = {"learning_rate": 1.0, **base}
    if changes is None:
        groups, kwargs, own = [{"names": list(SHAPES), **start}], {}, {"dense/bias": attribute}
        kwargs["param_attr"] = {("dense/bias",): paddle.ParamAttr(**ours(attribute))}
    else:
        own = {}
        groups = [{"names": list(n), **start, **c} for n, c in zip((FIRST, SECOND), changes, strict=True)]
        pairs = zip((FIRST, SECOND), changes, strict=True)
        kwargs = {"groups": [{"params": list(n), **ours(c)} for n, c in pairs]}
        kwargs["param_attr"] = {("bn/gamma",): paddle.ParamAttr(regularizer=paddle.L2Decay(0.3))}
        for group in groups:
            kinds = [(group["weight_decay"] or (None,))[0], (base["weight_decay"] or (None,))[0]]
            group["beside"] = base["weight_decay"] if kinds[1] == "L1" and kinds[0] != "L1" else None
    if frozen:
        kwargs["frozen"] = ["bn/gamma"]
        for group in groups:
            group["names"] = [name for name in group["names"] if name != "bn/gamma"]
    with double():
        found = trained(paddle.momentum(RATES[rate][0], **ours(base), **kwargs), params, grads)
        for name, w in transcript(params, grads, groups, RATES[rate][1], own).items():
            np.testing.assert_allclose(found[name], w, rtol=0, atol=1e-12 * max(1.0, np.abs(w).max()))


@given(norm=small.map(lambda x: 10 * x), base=options, seed=st.integers(0, 1000))
def test_a_clip_by_norm(norm: float, base: Any, seed: int) -> None:
    """In float32, the one dtype that it takes; five steps round by a few units of the largest value."""
    base = {**base, "grad_clip": ("norm", norm)}
    params, grads = data(seed)
    params = {name: w.astype(np.float32) for name, w in params.items()}
    grads = [{name: g.astype(np.float32) for name, g in now.items()} for now in grads]
    found = trained(paddle.momentum(0.1, **ours(base)), params, grads)
    groups = [{"names": list(SHAPES), "learning_rate": 1.0, **base}]
    wide = [{name: g.astype(np.float64) for name, g in now.items()} for now in grads]
    expected = transcript({n: w.astype(np.float64) for n, w in params.items()}, wide, groups, lambda k: 0.1, {})
    for name, w in expected.items():
        np.testing.assert_allclose(found[name], w, rtol=0, atol=2e-6 * max(1.0, np.abs(w).max()))


def test_everything_resolves_from_the_package() -> None:
    assert gx.compat.paddle.momentum is paddle.momentum
    assert jax.tree.leaves(gx.compat.paddle.momentum().init({"w": jnp.ones(2)}).leaves)


def test_sgd() -> None:
    """Clip, then decay, then a step; closed form."""
    tx = paddle.sgd(0.5, weight_decay=0.25, grad_clip=paddle.ClipGradByValue(1.0))
    updates, state = tx.update({"w": jnp.array([3.0, -0.5])}, tx.init({"w": jnp.full(2, 4.0)}), {"w": jnp.full(2, 4.0)})
    np.testing.assert_array_equal(updates["w"], [-1.0, -0.25])
    assert not jax.tree.leaves(state.leaves)
