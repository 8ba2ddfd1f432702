"""Strategies inside strategies: every ordered pair trains as it should, or is refused in a sentence."""

from __future__ import annotations

import contextlib
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding

import gradxform as gx
from tests.compiler import FAST
from tests.devices.layout import P

SHAPES = {"table": (16, 32), "w": (8, 24), "b": (32,), "c": (8,)}
NARROW = {"table", "b", "c"}
"""Parameters in bfloat16. The vectors share a buffer; the table's gradients are rows where `lazy` is in play."""
HOST = jax.jit(lambda: jax.device_put(jnp.ones(()), jax.memory.Space.Host))().sharding.memory_kind
CLIP, ADAMW = gx.clip_by_global_norm(1.0), gx.adamw(0.1, weight_decay=0.1)


@functools.cache
def line(kind: AxisType = AxisType.Auto) -> Any:
    return jax.make_mesh((8,), ("data",), axis_types=(kind,))


def int8(tx: Any) -> Any:
    return gx.stored_as("int8", tx, min_size=0)


def bfloat16(tx: Any) -> Any:
    return gx.stored_as("bfloat16", tx, min_size=0)


STRATEGIES = {
    "int8": int8,
    "bfloat16": bfloat16,
    "master_weights": gx.master_weights,
    "round_updates": lambda tx: gx.chain(tx, gx.round_updates("split16")),
    "lazy": gx.lazy,
    "own_clock": gx.own_clock,
    "offloaded": gx.offloaded,
    "packed": lambda tx: gx.packed(tx, max_size=100),
    "sharded": lambda tx, kind=AxisType.Auto: gx.sharded(tx, line(kind)),
}
RESTS_ALONE = r"packed cannot join 'b' with others: own_clock lets it rest alone; .*groups\(\[\(\.\.\., own_clock\("
OF_RULES = r"{} works on transformations made of rules; put it inside master_weights\("
REFUSED = {
    ("int8", "master_weights"): OF_RULES.format("stored_as"),
    ("bfloat16", "master_weights"): OF_RULES.format("stored_as"),
    ("lazy", "master_weights"): OF_RULES.format("lazy"),
    ("own_clock", "master_weights"): OF_RULES.format("own_clock"),
    ("own_clock", "packed"): RESTS_ALONE,
    ("packed", "own_clock"): RESTS_ALONE,
    ("offloaded", "master_weights"): OF_RULES.format("offloaded"),
    ("packed", "master_weights"): OF_RULES.format("packed"),
    ("sharded", "packed"): r"sharded cannot split the buffers that packed shares: write packed\(sharded\(\.\.\.\)\)",
    ("sharded", "sharded"): r"sharded\(.* is sharded already; name all axes in one: axis=\('data', 'model'\)",
}
PAIRS = [pair for pair in itertools.product(STRATEGIES, repeat=2) if pair not in REFUSED]
AGAIN = [pair for i, pair in enumerate(PAIRS) if pair[::-1] in PAIRS[:i]]
"""The other order of a pair."""
TRIPLES = [
    ("sharded", "offloaded", "int8"),
    ("sharded", "lazy", "int8"),
    ("offloaded", "packed", "bfloat16"),
    ("packed", "sharded", "offloaded"),
    ("round_updates", "sharded", "int8"),
    ("master_weights", "sharded", "lazy"),
]


def expected(names: Any) -> Any:
    """What decides about the numbers, once each: in what memory is kept, and parameters; whether rows rest."""
    tx = gx.lazy(ADAMW) if "lazy" in names else ADAMW
    if {"int8", "bfloat16"} <= set(names):
        tx = gx.groups([(gx.ndim_at_least(2), int8(tx))], default=bfloat16(tx))
    elif "int8" in names:
        tx = int8(tx)
    elif "bfloat16" in names:
        tx = bfloat16(tx)
    tx = gx.chain(CLIP, tx)
    if "master_weights" in names:
        return gx.master_weights(tx)
    return gx.chain(tx, gx.round_updates("split16")) if "round_updates" in names else tx


def composed(names: Any, tx: Any, kind: AxisType = AxisType.Auto) -> Any:
    """The strategies around it, the first one outermost."""
    for name in reversed(names):
        tx = STRATEGIES[name](tx, kind) if name == "sharded" else STRATEGIES[name](tx)
    return tx


def at_hand(kind: AxisType) -> Any:
    if kind == AxisType.Auto:
        return contextlib.nullcontext()
    return (jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh)(line(kind))


def numbers(seed: int) -> Any:
    draw = np.random.default_rng(seed).standard_normal
    return {name: draw(shape).astype(np.float32) for name, shape in SHAPES.items()}


def gradients(step: int, sparse: bool) -> Any:
    grads = numbers(step + 1)
    if sparse:
        grads["table"] = gx.Rows(np.array([3, 7, 3, 16]), grads["table"][:4], SHAPES["table"])
    return grads


@functools.cache
def trained(tx: Any, sparse: bool, kind: AxisType = AxisType.Auto, told: bool = True) -> Any:
    """Parameters and state after three steps; the state lies all the time where it is told, or, untold, by itself."""
    everywhere = NamedSharding(line(kind), P())
    with at_hand(kind):
        whole = {name: jnp.asarray(x, jnp.bfloat16 if name in NARROW else x.dtype) for name, x in numbers(0).items()}
        params = jax.device_put(whole, everywhere)
        lies = gx.state_shardings(tx, params, everywhere)
        state = jax.jit(tx.init, out_shardings=lies, compiler_options=FAST)(params) if told else tx.init(params)
        jax.tree.map(lambda x, wanted: x.ndim == 0 or assert_lies(x, wanted), state, lies)
        laid = jax.tree.map(lambda x: everywhere, params)

        def step(params: Any, state: Any, grads: Any) -> Any:
            updates, state = tx.update(grads, state, params)
            return gx.apply_updates(params, updates), state

        run = jax.jit(step, in_shardings=(laid, lies, None), donate_argnums=(0, 1), compiler_options=FAST)
        for number in range(3):
            params, state = run(params, state, jax.device_put(gradients(number, sparse), everywhere))
            jax.tree.map(assert_lies, (params, state), (laid, lies))
    return params, state


def assert_lies(x: Any, sharding: Any) -> None:
    assert x.sharding.is_equivalent_to(sharding, x.ndim), (x.shape, x.sharding, sharding)
    assert x.sharding.memory_kind == sharding.memory_kind


def assert_trained_as(found: Any, wanted: Any) -> None:
    """Sums run in another order: an ulp, which turns a code or the rounding of a bfloat16 number now and then."""
    for name in SHAPES:
        a, b = (np.asarray(x[name], np.float64) for x in (found, wanted))
        off = np.abs(a - b)
        assert np.mean(off > 2e-6) <= 0.01, name
        assert np.all(off <= 2.0**-7 * np.abs(b) + 4e-3), name


def assert_kept_as(state: Any, names: Any) -> None:
    """Every strategy shows in Adam's memory."""
    held = [(str(path), x) for path, x in jax.tree_util.tree_leaves_with_path(state) if "adam" in str(path)]
    assert held
    for path, x in held:
        if "offloaded" in names:
            assert x.sharding.memory_kind == "pinned_host", path
        if "sharded" in names and "scales" not in path and x.ndim:
            assert x.addressable_shards[0].data.size == x.size // 8, path
    assert ("int8" in names) == any(x.dtype == jnp.int8 for _, x in held)
    assert ("bfloat16" in names) == any(x.dtype == jnp.bfloat16 for _, x in held)
    assert ("own_clock" in names) == any("count" in path for path, _ in held)
    assert ("packed" in names) == any("'packed/b'" in path and x.shape == (40,) for path, x in held)


def skip_without_host(names: Any) -> None:
    if "offloaded" in names and HOST != "pinned_host":
        pytest.skip("this JAX has one memory on CPU")


def check(names: Any, kind: AxisType = AxisType.Auto) -> None:
    skip_without_host(names)
    sparse = "lazy" in names
    params, state = trained(composed(names, gx.chain(CLIP, ADAMW), kind), sparse, kind, len(names) == 2)
    wanted, _ = trained(expected(names), sparse)
    assert_trained_as(params, wanted)
    assert_kept_as(state, names)


@pytest.mark.parametrize("names", [pair for pair in PAIRS if pair not in AGAIN] + TRIPLES, ids="-".join)
def test_it_trains_as_the_one_that_changes_numbers(names: Any) -> None:
    check(names)


@pytest.mark.slow
@pytest.mark.parametrize("names", AGAIN, ids="-".join)
def test_the_other_way_round(names: Any) -> None:
    check(names)


@pytest.mark.parametrize("inner", ["int8", "master_weights", "round_updates", "lazy", "offloaded"])
def test_sharded_by_type(inner: str) -> None:
    check(("sharded", inner), AxisType.Explicit)


@pytest.mark.parametrize("names", REFUSED, ids="-".join)
def test_it_is_refused_in_a_sentence(names: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=REFUSED[names]):
        composed(names, gx.chain(CLIP, ADAMW)).init(numbers(0))


INNER = gx.groups([(gx.named("w"), gx.sgd(0.1))], default=gx.adamw(gx.tunable(0.1), weight_decay=0.1))


def controlled(tx: Any) -> Any:
    return gx.static_loss_scale(gx.guard(gx.accumulate(tx, every=2)), 2.0)


@functools.cache
def steered(tx: Any, kind: AxisType, calls: int) -> Any:
    """Two steps, and another learning rate for the second: of one call, or of two micro-batches with NaN between."""
    with at_hand(kind):
        everywhere, (first, second, third, fourth) = NamedSharding(line(kind), P()), (numbers(i) for i in range(1, 5))
        params = {name: jnp.asarray(x, jnp.bfloat16 if name in NARROW else x.dtype) for name, x in numbers(0).items()}
        params = jax.device_put(params, everywhere)
        bad = {**second, "w": np.full_like(second["w"], np.nan)}
        means = [jax.tree.map(lambda a, b: (a + b) / 4, *pair) for pair in ((first, second), (third, fourth))]
        batches = [[means[0]], [means[1]]] if calls == 1 else [[first, bad, second], [third, fourth]]
        lies = gx.state_shardings(tx, params, everywhere)
        state, step = jax.jit(tx.init, out_shardings=lies, compiler_options=FAST)(params), gx.make_step(tx)
        for grads, rate in zip(batches, (0.1, 0.05), strict=True):
            state = gx.with_hyperparams(state, learning_rate=rate)
            for g in grads:
                params, state = step(params, state, jax.device_put(g, everywhere))
    return params, state


FIRST = ("int8", "sharded")
CONTROLLED = [(name, AxisType.Auto) for name in STRATEGIES] + [("sharded", AxisType.Explicit)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [pytest.param(*case, marks=() if case[0] in FIRST else pytest.mark.slow) for case in CONTROLLED],
    ids=lambda x: str(x).lower(),
)
def test_controls_around_it(name: str, kind: AxisType) -> None:
    """The steps are those of the mean gradients; the same controls inside, where that makes sense, give the same."""
    skip_without_host((name,))
    wanted, _ = steered(composed((name,), INNER, kind), kind, 1)
    params, state = steered(controlled(composed((name,), INNER, kind)), kind, 2)
    assert_trained_as(params, wanted)
    assert_kept_as(state.inner.inner, (name,))
    if name in ("master_weights", "round_updates", "sharded"):
        assert_trained_as(steered(composed((name,), controlled(INNER), kind), kind, 2)[0], wanted)
    else:
        with pytest.raises(
            TypeError, match=r"works on transformations made of rules; put it inside static_loss_scale\("
        ):
            composed((name,), controlled(INNER)).init(numbers(0))
