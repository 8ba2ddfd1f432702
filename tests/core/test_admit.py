"""A state is refused in words where it is not the one that is wanted, and cast where it only looks otherwise."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.core
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from gradxform.core.admit import admitted, admitted_by_path, shown
from gradxform.core.blocks import Blocks
from gradxform.core.state import find_state

P = {"a": {"w": jnp.ones((2, 256)), "b": jnp.ones(3)}, "n": jnp.arange(2)}
G: Any = {"a": {"w": jnp.full((2, 256), 0.5), "b": jnp.ones(3)}, "n": None}
ADAM = gx.adam(0.1)


class Pair(NamedTuple):
    x: Any
    y: Any


@contextlib.contextmanager
def double(enabled: bool = True) -> Iterator[None]:
    jax.config.update("jax_enable_x64", enabled)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)


def struct(shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def moved(tx: Any, steps: int = 2) -> Any:
    state = tx.init(P)
    for _ in range(steps):
        _, state = tx.update(G, state, P)
    return state


def test_what_fits_is_itself() -> None:
    have = Pair(jnp.ones(3), Blocks(jnp.ones(2, jnp.int8), jnp.ones(1), jnp.ones(1)))
    want = Pair(struct((3,)), Blocks(struct((2,), jnp.int8), struct((1,)), struct((1,))))
    assert admitted(have, want, "it") is have
    assert admitted("anything", None, "it") == "anything"


@pytest.mark.parametrize(
    "have",
    [
        Pair(jnp.ones(4), jnp.ones(())),
        Pair(jnp.ones(3, jnp.bfloat16), jnp.ones(())),
        Pair(Blocks(jnp.ones(3, jnp.int8), jnp.ones(1), jnp.ones(1)), jnp.ones(())),
        Pair(None, jnp.ones(())),
        Pair("text", jnp.ones(())),
        (jnp.ones(3), jnp.ones(())),
        {"x": jnp.ones(3), "y": jnp.ones(())},
        None,
    ],
)
def test_what_does_not_is_refused_with_what_is_there_and_what_is_wanted(have: Any) -> None:
    words = re.escape(f"it: the state holds {shown(have)}, wanted is Pair(x=float32[3], y=float32[]); gx.migrate")
    with pytest.raises(ValueError, match=words):
        admitted(have, Pair(struct((3,)), struct()), "it")


def test_a_tree_in_other_containers_is_held_against_the_names() -> None:
    want = {"a": struct((2,)), "b": {"c": struct()}}
    have = flax.core.freeze({"b": {"c": jnp.ones(())}, "a": np.ones(2, np.float32)})
    new = admitted_by_path(have, want, "it")
    assert isinstance(new, flax.core.FrozenDict)
    assert isinstance(new["a"], jax.Array)
    with pytest.raises(ValueError, match=r"it at 'b/c': the state holds nothing, wanted is float32\[\]"):
        admitted_by_path({"a": jnp.ones(2)}, want, "it")
    with pytest.raises(ValueError, match=r"it at 'd': the state holds .*, wanted is nothing"):
        admitted_by_path({"a": jnp.ones(2), "b": {"c": jnp.ones(())}, "d": jnp.ones(())}, want, "it")


OTHERS = {
    "stage added": (ADAM, gx.chain(gx.trace(0.9), ADAM), "trace at 'a/b': the state holds nothing, wanted is Trace"),
    "stage gone": (gx.chain(gx.trace(0.9), ADAM), ADAM, "trace at 'a/b': the state holds Trace.*, wanted is nothing"),
    "other stage": (gx.momentum(0.1), ADAM, "adam at 'a/b': the state holds nothing, wanted is Moments"),
    "codes": (ADAM, gx.stored_as("int8", ADAM, min_size=0), "adam at 'a/w': .* wanted is Moments.*int8"),
    "no codes": (gx.stored_as("int8", ADAM, min_size=0), ADAM, "adam at 'a/w': the state holds .*codes=int8"),
    "mu_dtype": (
        ADAM,
        gx.adam(0.1, mu_dtype=jnp.bfloat16),
        r"holds Moments\(mu=float32.*wanted is Moments\(mu=bfloat16",
    ),
    "no mu_dtype": (gx.adam(0.1, mu_dtype=jnp.bfloat16), ADAM, r"holds Moments\(mu=bfloat16.*wanted is Moments\(mu=f"),
    "tunable": (ADAM, gx.adam(gx.tunable(0.1)), "learning_rate: the state holds nothing, wanted is float32"),
    "tunable beta": (gx.adam(0.1, b1=gx.tunable(0.9)), ADAM, "adam/b1: the state holds Pair.*, wanted is nothing"),
    "other tunable": (gx.adam(0.1, b1=gx.tunable(0.9)), gx.adam(0.1, b2=gx.tunable(0.9)), "adam/b2: .* nothing"),
    "of the tree": (ADAM, gx.chain(gx.clip_by_percentile(40.0, 4), ADAM), "clip_by_percentile: the state holds noth"),
    "window": (gx.clip_by_percentile(40.0, 4), gx.clip_by_percentile(40.0, 5), r"norms=float32\[4\].*float32\[5\]"),
    "packed": (ADAM, gx.packed(ADAM), "adam at 'a/b': the state holds Moments.*, wanted is nothing"),
    "not packed": (gx.packed(ADAM), ADAM, "adam at 'a/b': the state holds nothing, wanted is Moments"),
    "frozen": (ADAM, gx.chain(gx.freeze("b"), ADAM), "adam at 'a/b': the state holds Moments.*, wanted is nothing"),
    "guarded": (ADAM, gx.guard(ADAM), "here the GuardState of guard.*, got State"),
    "not guarded": (gx.guard(ADAM), ADAM, "here the State of .*, got GuardState"),
    "other control": (gx.accumulate(ADAM, 2), gx.guard(ADAM), "here the GuardState of .*, got AccumulateState"),
    "spikes": (gx.guard(ADAM), gx.guard(ADAM, spike=6.0), "guard/statistics at '.*': the state holds nothing"),
    "no spikes": (gx.guard(ADAM, spike=6.0), gx.guard(ADAM), "guard/statistics at '.*': .* wanted is nothing"),
    "figures": (
        gx.measure(ADAM, grad_norm=True),
        gx.measure(ADAM, update_norm=True),
        "update_norm of measure: the state holds nothing",
    ),
    "inside": (gx.guard(ADAM), gx.guard(gx.momentum(0.1)), "momentum at 'a/b'|trace at 'a/b'"),
    "below": (
        gx.chain(gx.guard(ADAM)),
        gx.chain(gx.guard(gx.momentum(0.1))),
        "trace at 'a/b': the state holds nothing",
    ),
    "peers": (gx.chain(optax.trace(0.9)), gx.chain(optax.scale_by_adam()), "foreign: the state holds TraceState"),
}


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.replace(" ", "-"))
def test_a_state_of_another_transformation_is_refused(case: str) -> None:
    made, used, words = OTHERS[case]
    state, g = moved(made, 1), jax.tree.map(jnp.ones_like, P) | {"n": None}
    for update in (used.update, jax.jit(used.update)):
        with pytest.raises(ValueError, match=words) as refused:
            update(g, state, P)
        assert "gx.migrate(state, tx, params)" in str(refused.value)
    with jax.disable_jit(), pytest.raises(ValueError, match=words):
        used.update(g, state, P)


def test_so_is_one_of_other_parameters() -> None:
    state = ADAM.init(P)
    with pytest.raises(ValueError, match=r"the state knows no leaf 'c'.*gx.migrate"):
        ADAM.update({**G, "c": jnp.ones(1)}, state)
    fewer = {"a": G["a"]}
    with pytest.raises(ValueError, match=r"has a memory at 'z.*', where the gradients have nothing; gx.migrate"):
        ADAM.update(fewer, ADAM.init({**P, "z": jnp.ones(1)}))
    with pytest.raises(ValueError, match=r"adam at 'a/b': .*float32\[3\].*wanted is .*float32\[4\].*gx.migrate"):
        ADAM.update({"a": {**G["a"], "b": jnp.ones(4)}, "n": None}, state)
    for wrapper in (gx.accumulate(gx.sgd(0.1), 2), gx.master_weights(gx.sgd(0.1))):
        small = jax.tree.map(lambda x: x.astype(jnp.bfloat16), P["a"])
        with pytest.raises(ValueError, match=r"'b'.*bfloat16\[4\]|at 'b': .*float32\[4\]"):
            wrapper.update(small, wrapper.init({**small, "b": jnp.ones(4, jnp.bfloat16)}), small)


@pytest.mark.parametrize("state", [None, 3, (), {}, [], "text", optax.EmptyState()])
def test_so_is_what_is_no_state(state: Any) -> None:
    for tx in (ADAM, gx.guard(ADAM), gx.accumulate(ADAM, 2), gx.measure(ADAM, grad_norm=True)):
        for use in (lambda tx=tx: tx.update(G, state, P), lambda tx=tx: gx.eval_params(tx, state, P)):
            with pytest.raises(TypeError, match=r"state must be what init returns, here the .*State of .*gx.migrate"):
                use()


@pytest.mark.parametrize("count", [None, "text", jnp.ones(3, jnp.int32), jnp.ones(())])
def test_so_is_a_counter_that_is_none(count: Any) -> None:
    for tx in (ADAM, gx.adam(gx.cosine_decay_schedule(0.1, 3))):
        with pytest.raises(ValueError, match=r"count: the state holds .*, wanted is int32\[\]"):
            tx.update(G, tx.init(P)._replace(count=count), P)


def test_readers_of_a_state_refuse_one_of_another_transformation() -> None:
    averaged = gx.chain(ADAM, gx.ema_of_params(0.9))
    with pytest.raises(ValueError, match=r"ema_of_params at 'a/b': the state holds nothing.*gx.migrate"):
        gx.eval_params(averaged, ADAM.init(P), P)
    with pytest.raises(ValueError, match=r"GuardState of .*, got State.*gx.migrate"):
        gx.eval_params(gx.guard(averaged), averaged.init(P), P)
    with pytest.raises(ValueError, match=r"packed/a/b: the state holds nothing|adam at 'a/b'"):
        gx.unpack(gx.packed(ADAM), ADAM.init(P), P)
    with pytest.raises(ValueError, match=r"holds no tunable 'learning_rate'.*gx.migrate"):
        gx.hyperparams(gx.adam(gx.tunable(0.1)), ADAM.init(P))


def test_a_restored_state_is_cast_and_goes_on() -> None:
    tx = gx.guard(gx.chain(gx.clip_by_percentile(40.0, 4), gx.adam(gx.tunable(0.1))), spike=6.0)
    state = moved(tx)
    wide = jax.tree.map(lambda x: np.asarray(x, np.int64 if x.dtype == jnp.int32 else None), state)
    expected, new = tx.update(G, state, P)
    for enabled in (False, True):
        with double(enabled):
            for update in (tx.update, jax.jit(tx.update)):
                updates, after = update(G, wide, P)
                assert [x.dtype for x in jax.tree.leaves(after)] == [x.dtype for x in jax.tree.leaves(new)]
                near = functools.partial(np.testing.assert_allclose, rtol=1e-6)
                jax.tree.map(near, (updates, after), (expected, new))
    with jax.disable_jit():
        after = tx.update(G, jax.tree.map(lambda x: x.item() if x.ndim == 0 else x, wide), P)[1]
    assert [x.dtype for x in jax.tree.leaves(after)] == [x.dtype for x in jax.tree.leaves(new)]


@pytest.mark.parametrize("tx", [gx.clip_by_percentile(40.0, 4), gx.stored_as("int8", ADAM, min_size=0)], ids=repr)
def test_a_state_of_numpy_arrays_goes_on_op_by_op(tx: Any) -> None:
    state = moved(tx)
    with jax.disable_jit():
        expected = tx.update(G, state, P)
        jax.tree.map(np.testing.assert_array_equal, tx.update(G, jax.tree.map(np.asarray, state), P), expected)


def test_parts_of_a_batch_of_states_are_held_against_one() -> None:
    tx = gx.adam(gx.tunable(0.1))
    params, g = ({"w": jnp.ones((4, 3))} for _ in range(2))
    states = jax.vmap(tx.init)(params)
    updates, after = jax.vmap(tx.update)(g, states, params)
    assert updates["w"].shape == (4, 3)
    assert jax.tree.structure(after) == jax.tree.structure(states)
    with pytest.raises(ValueError, match=r"count: the state holds int32\[4\]"):
        tx.update(g, states, params)


def test_without_parameters_wider_memory_is_not_another() -> None:
    with double():
        p = {"w": jnp.ones(3, jnp.float64)}
        tx = gx.accumulate(gx.chain(gx.clip_by_percentile(40.0, 4), gx.momentum(0.1)), 2)
        state = tx.init(p)
        _, after = tx.update({"w": jnp.ones(3, jnp.float32)}, state)
        assert find_state(after).leaves["w"]["trace"].trace.dtype == jnp.float64
        with pytest.raises(ValueError, match=r"at 'w': .*float64\[3\].*, wanted is .*float32\[3\]"):
            tx.update({"w": jnp.ones(3, jnp.float32)}, state, {"w": jnp.ones(3, jnp.float32)})


ONCE = {
    "clip_by_global_norm": gx.clip_by_global_norm(0.5),
    "sgd": gx.sgd(0.1),
    "adaptive_grad_clip": gx.adaptive_grad_clip(0.1),
    "chain": gx.chain(gx.zero_nans(), gx.clip(0.1), gx.add_decayed_weights(0.1), gx.scale(-0.1)),
    "groups": gx.groups([("b", gx.sgd(0.1))], default=gx.scale(2.0)),
    "freeze": gx.chain(gx.freeze("b"), gx.sgd(0.1)),
    "packed": gx.packed(gx.sgd(0.1)),
    "corrected decay": gx.add_corrected_decay(0.1, 0.5, 1.0),
    "identity": gx.identity(),
}


@pytest.mark.parametrize("name", ONCE, ids=lambda name: name.replace(" ", "-"))
@pytest.mark.parametrize("state", [None, (), optax.EmptyState()], ids=repr)
def test_what_remembers_nothing_takes_no_state_and_returns_what_it_got(name: str, state: Any) -> None:
    tx = ONCE[name]
    expected, after = tx.update(G, tx.init(P), P)
    assert after.count == 1
    for update in (tx.update, jax.jit(tx.update)):
        updates, new = update(G, state, P)
        assert type(new) is type(state)
        jax.tree.map(np.testing.assert_array_equal, updates, expected)
    with jax.disable_jit():
        jax.tree.map(np.testing.assert_allclose, tx.update(G, state, P)[0], expected)


def test_clipping_alone_is_the_closed_form() -> None:
    g = {"a": jnp.array([3.0, 0.0]), "b": jnp.array(4.0)}
    clipped, state = gx.clip_by_global_norm(1.0).update(g, optax.EmptyState())
    assert state == optax.EmptyState()
    jax.tree.map(np.testing.assert_allclose, clipped, {"a": np.array([0.6, 0.0]), "b": np.array(0.8)})


class Annealed(gx.TreeRule):
    def measure(self, gs: Any, s: Any, t: Any) -> Any:
        return 1.0 / t, None

    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return g * k, s


COUNTING = [
    gx.scale_by_schedule(gx.linear_schedule(1.0, 0.1, 4)),
    gx.sgd([0.1, 0.2]),
    gx.sgd(gx.tunable(0.1)),
    gx.momentum(0.1),
    gx.add_noise(0.1, 0.5, key=3),
    gx.clip_by_percentile(40.0, 4),
    gx.groups([("b", gx.momentum(0.1))], default=gx.sgd(0.1)),
    gx.chain(optax.clip(1.0)),
    gx.chain(gx.scale(0.1), gx.guard(gx.sgd(0.1))),
    gx.lift(Annealed()),
]


@pytest.mark.parametrize("tx", COUNTING, ids=range(len(COUNTING)))
def test_what_remembers_or_counts_does_not(tx: Any) -> None:
    for update in (tx.update, jax.jit(tx.update)):
        with pytest.raises((TypeError, ValueError), match=r"state must be what init returns|counts the steps: call up"):
            update(G, None, P)
