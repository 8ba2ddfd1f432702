"""Inside `shard_map` with a part of every parameter: elementwise rules just run, the rest is refused in words."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax
import pytest

import gradxform as gx
from tests.catalogue import Entry, entries, own
from tests.compiler import FAST
from tests.devices.layout import SPECS, STACKED, P, alone, assert_same, gradients, mesh, numbers, parameters, walk

AXES = ("x", "y")


def state_specs(tx: Any) -> Any:
    """For each parameter, its own layout for what is shaped like it, or like its rows; else the same everywhere."""
    params = parameters()
    state = jax.eval_shape(tx.init, params)

    def spec(p: Any, of: P, memory: Any) -> Any:
        return jax.tree.map(lambda x: P(*of[: x.ndim]) if x.shape == p.shape[: x.ndim] else P(), memory)

    inner = own(state)
    leaves = jax.tree.map(spec, params, SPECS, inner.leaves)
    rest = jax.tree.map(lambda x: P(), inner._replace(leaves=None))
    specs = rest._replace(leaves=leaves)
    outer = jax.tree.map(lambda x: x if isinstance(x, gx.State) else P(), state, is_leaf=lambda x: x is inner)
    return jax.tree.map(lambda x: specs if x is inner else x, outer, is_leaf=lambda x: x is inner or isinstance(x, P))


def parted(tx: Any, **extra: Any) -> Any:
    """The walk on parts, from `init` on, and the parts put together again."""

    def device(params: Any, grads: Any) -> Any:
        return walk(tx, params, tx.init(params), grads, **extra)

    run = jax.shard_map(device, mesh=mesh(), in_specs=(SPECS, STACKED), out_specs=(SPECS, state_specs(tx)))
    return jax.jit(run, compiler_options=FAST)(parameters(), gradients())


@entries(lambda e: e.axis is None and e.reach == gx.Reach.ELEMENT and not e.packs)
def test_elementwise_rules_as_on_one_device(entry: Entry) -> None:
    assert_same(parted(entry.tx, **entry.extra), alone(entry.name), entry.narrow)


def norms(axis_name: Any) -> dict[str, Any]:
    return {
        "clipped": gx.clip_by_global_norm(0.7, axis_name=axis_name),
        "clipped adamw": gx.chain(gx.clip_by_global_norm(0.7, axis_name=axis_name), gx.adamw(0.1)),
        "prodigy": gx.prodigy(weight_decay=0.1, estim_lr0=1e-2, axis_name=axis_name),
        "dadapt_adamw": gx.dadapt_adamw(estim_lr0=1e-2, axis_name=axis_name),
        "dog": gx.dog(init_step=("heuristic", 0.1), axis_name=axis_name),
        "measured": gx.measure(
            gx.chain(gx.clip_by_global_norm(0.7, axis_name=axis_name), gx.adam(0.1)),
            grad_norm=True,
            update_norm=True,
            param_norm=True,
            update_ratio="global",
            clip_fraction=True,
            axis_name=axis_name,
        ),
    }


@pytest.mark.parametrize("name", norms(None))
def test_global_norms_with_an_axis_name(name: str) -> None:
    """Parts add up, and what lies on several devices counts once."""
    tx = norms(None)[name]
    expected = jax.jit(lambda p, g: walk(tx, p, tx.init(p), g))(parameters(), gradients())
    assert_same(parted(norms(AXES)[name]), expected)


@pytest.mark.parametrize("check", [True, False], ids=["checked", "unchecked"])
def test_the_norm_of_parts(check: bool) -> None:
    """Where `shard_map` keeps no account of what varies, every leaf counts as split, as it does in `pmap`."""
    tree = numbers(3)
    tree = tree if check else {"kernel": tree["dense"]["kernel"]}
    specs = SPECS if check else {"kernel": P("x", "y")}
    run = jax.shard_map(
        lambda t: gx.global_norm(t, axis_name=AXES), mesh=mesh(), in_specs=(specs,), out_specs=P(), check_vma=check
    )
    expected = np.sqrt(sum(np.sum(np.square(x, dtype=np.float64)) for x in jax.tree.leaves(tree)))
    np.testing.assert_allclose(jax.jit(run)(tree), expected, rtol=3e-7)


def trace_init(tx: Any) -> None:
    jax.eval_shape(jax.shard_map(tx.init, mesh=mesh(), in_specs=(SPECS,), out_specs=P()), parameters())


def trace_update(tx: Any, **extra: Any) -> None:
    run = jax.shard_map(
        lambda g, s, p: tx.update(g, s, p, **extra)[0],
        mesh=mesh(),
        in_specs=(SPECS, state_specs(tx), SPECS),
        out_specs=SPECS,
    )
    jax.eval_shape(run, parameters(), jax.eval_shape(tx.init, parameters()), parameters())


@entries(lambda e: e.axis is None and e.reach not in (None, gx.Reach.ELEMENT))
def test_what_looks_farther_is_refused(entry: Entry) -> None:
    words = r"looks at more than one element of 'dense/(bias|kernel)', .* \(it varies over .*run it under jit"
    with pytest.raises(ValueError, match=words):
        trace_init(entry.tx)
    # Where the state is no part of the whole one either, that is said first.
    with pytest.raises(ValueError, match=f"{words}|wanted is .*gx.migrate") as error:
        trace_update(entry.tx, **entry.extra)
    takes_axis = any(rule.facts.reach == gx.Reach.TREE for _, rule in entry.rules)
    assert "gx.migrate" in str(error.value) or ("or give axis_name" in str(error.value)) == takes_axis


def test_an_axis_name_must_cover_the_leaf() -> None:
    tx = gx.clip_by_global_norm(1.0, axis_name="y")
    with pytest.raises(ValueError, match=r"'dense/kernel'.*varies over x\).*or give axis_name"):
        trace_update(tx)


def test_figures_of_parts_are_refused() -> None:
    tx = gx.measure(gx.sgd(0.1), grad_norm=True)
    with pytest.raises(ValueError, match="measure sees one device's part of a leaf inside shard_map: give axis_name"):
        trace_update(tx)


def test_what_is_whole_on_every_device_is_not_refused() -> None:
    """Layerwise rates for the leaves that no device shares with another, elementwise steps for the rest."""
    whole = {"dense": {"kernel": P(), "bias": P("y")}, "scale": P()}
    tx = gx.groups([("bias", gx.adam(0.1))], default=gx.lamb(0.1))

    def device(params: Any, grads: Any) -> Any:
        return walk(tx, params, tx.init(params), grads)[0]

    stacked = jax.tree.map(lambda s: P(None, *s), whole, is_leaf=lambda x: isinstance(x, P))
    run = jax.jit(jax.shard_map(device, mesh=mesh(), in_specs=(whole, stacked), out_specs=whole))
    expected, _ = jax.jit(lambda p, g: walk(tx, p, tx.init(p), g))(parameters(), gradients())
    assert_same(run(parameters(), gradients()), expected)


def test_one_axis_by_hand_and_one_by_the_compiler() -> None:
    """Only `x` is manual; columns are laid out over `y` by the compiler, inside the same program."""
    rows = {"dense": {"kernel": P("x"), "bias": P()}, "scale": P()}
    tx = gx.chain(gx.clip_by_global_norm(0.7, axis_name="x"), gx.adamw(0.1))

    def device(params: Any, grads: Any) -> Any:
        return walk(tx, params, tx.init(params), grads)[0]

    stacked = jax.tree.map(lambda s: P(None, *s), rows, is_leaf=lambda x: isinstance(x, P))
    run = jax.shard_map(device, mesh=mesh(), in_specs=(rows, stacked), out_specs=rows, axis_names={"x"})
    plain = gx.chain(gx.clip_by_global_norm(0.7), gx.adamw(0.1))
    expected, _ = jax.jit(lambda p, g: walk(plain, p, plain.init(p), g))(parameters(), gradients())
    assert_same(jax.jit(run)(parameters(), gradients()), expected)


def test_optax_members_just_run() -> None:
    """Nobody knows how far another library's transformation looks: elementwise ones are as good as ours."""
    tx = gx.chain(gx.trace(0.5), optax.adam(0.1))

    def device(params: Any, grads: Any) -> Any:
        return walk(tx, params, tx.init(params), grads)[0]

    run = jax.jit(jax.shard_map(device, mesh=mesh(), in_specs=(SPECS, STACKED), out_specs=SPECS))
    expected, _ = jax.jit(lambda p, g: walk(tx, p, tx.init(p), g))(parameters(), gradients())
    assert_same(run(parameters(), gradients()), expected)
