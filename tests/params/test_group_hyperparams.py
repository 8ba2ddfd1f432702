"""The ports of docs/groups.md beside recorded trajectories, and groups by name over real clients."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradxform as gx
from tests.test_docs import blocks
from tests.trajectories import double

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "compat" / "golden"
PAGE = (ROOT / "docs" / "groups.md").read_text()


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the page of the documentation defines."""
    names: dict[str, Any] = {"__name__": "groups"}
    for line, code in blocks(PAGE):
        exec(compile(code, f"groups.md, block at line {line}", "exec"), names)
    return names


PORTS = ["torch_groups", "mindspore_groups", "big_vision", "paddle_regularizers"]


@pytest.mark.parametrize("port", PORTS)
def test_a_port_takes_ten_lines(port):
    code = next(code for _, code in blocks(PAGE) if f"\n{port} = " in f"\n{code}")
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 10
    assert max(map(len, lines)) <= 120


def nested(flat):
    tree: dict[str, Any] = {}
    for path, x in flat.items():
        *parents, last = path.split("/")
        node = tree
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = x
    return tree


@pytest.mark.parametrize(
    ("port", "case"),
    [
        ("torch_groups", "torch_SGD_groups"),
        ("mindspore_groups", "mindspore_Momentum_groups_grad_centralization"),
        ("paddle_regularizers", "paddle_Momentum_param_attr"),
    ],
)
def test_a_port_follows_the_recorded_trajectory(page, port, case):
    with np.load(GOLDEN / f"{case}.npz") as data:
        config = json.loads(str(data["config"]))
        leaves = [path for path, _ in config["leaves"]]
        arrays = {key: data[key] for key in data.files if key != "config"}
    tx = page[port]
    p = nested({path: jnp.asarray(arrays[f"param/{path}"]) for path in leaves})
    state, update = tx.init(p), jax.jit(tx.update)
    for t in range(1, config["n_steps"] + 1):
        grads = nested({path: jnp.asarray(arrays[f"grad/{t}/{path}"]) for path in leaves})
        updates, state = update(grads, state, p)
        p = gx.apply_updates(p, updates)
        for path in leaves:
            expected, found = arrays[f"after/{t}/{path}"], p
            for name in path.split("/"):
                found = found[name]
            # Twelve float32 steps in another order of operations: 2e-6 of the largest weight.
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * max(1.0, np.abs(expected).max()))


def test_big_vision_multiplies_and_freezes(page):
    """Adam in float64, with rates and decays multiplied leaf by leaf; the frozen leaves stay and do not count."""
    rng = np.random.default_rng(0)
    p = jax.tree.map(lambda x: rng.normal(size=x.shape), page["params"])
    gs = [jax.tree.map(lambda x: rng.normal(size=x.shape), p) for _ in range(6)]
    factors = {
        "conv1/kernel": (1.0, 1.0),
        "dense/kernel": (1.0, 1.0),
        "dense/bias": (1.0, 0.0),
        "embed/table": (0.1, 0.0),
    }

    def at(tree, path):
        a, b = path.split("/")
        return tree[a][b]

    x = {path: at(p, path) for path in factors}
    m, v = dict.fromkeys(x, 0.0), dict.fromkeys(x, 0.0)
    for t, g in enumerate(gs, 1):
        norm = np.sqrt(sum(np.sum(at(g, path) ** 2) for path in x))
        for path, (lr, wd) in factors.items():
            d = at(g, path) * min(1.0, 1.0 / norm)
            m[path] = 0.9 * m[path] + 0.1 * d
            v[path] = 0.95 * v[path] + 0.05 * d**2
            u = m[path] / (1 - 0.9**t) / (np.sqrt(v[path] / (1 - 0.95**t)) + 1e-8)
            x[path] = x[path] - lr * 1e-3 * (t - 1) / 10 * (u + 1e-4 * wd * x[path])
    with double():
        tx, q = page["big_vision"], jax.tree.map(jnp.asarray, p)
        state, update = tx.init(q), jax.jit(tx.update)
        for g in gs:
            updates, state = update(jax.tree.map(jnp.asarray, g), state, q)
            q = gx.apply_updates(q, updates)
        for path in x:
            np.testing.assert_allclose(at(q, path), x[path], rtol=1e-12)
        jax.tree.map(np.testing.assert_array_equal, q["bn1"], p["bn1"])


# Groups by name over the containers that people use


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    kernel: Any
    bias: Any


@dataclasses.dataclass
class Case:
    params: Any
    grads: Any
    weight: str
    bias: str


def plain(make):
    def case():
        p = make()
        return Case(p, jax.tree.map(jnp.ones_like, p), "enc/kernel", "enc/bias")

    return case


def of_linen():
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(2, name="head")(linen.Dense(3, name="enc")(x))

    p = Net().init(jax.random.key(0), jnp.ones((1, 4)))["params"]
    return Case(p, jax.tree.map(jnp.ones_like, p), "enc/kernel", "enc/bias")


def of_nnx():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.enc, self.head = nnx.Linear(4, 3, rngs=rngs), nnx.Linear(3, 2, rngs=rngs)

    p = nnx.state(Net(nnx.Rngs(0)), nnx.Param)
    return Case(p, jax.tree.map(jnp.ones_like, p), "enc/kernel", "enc/bias")


def of_equinox():
    class Net(eqx.Module):
        enc: eqx.nn.Linear
        head: eqx.nn.Linear

    a, b = jax.random.split(jax.random.key(0))
    p = eqx.filter(Net(eqx.nn.Linear(4, 3, key=a), eqx.nn.Linear(3, 2, key=b)), eqx.is_inexact_array)
    return Case(p, jax.tree.map(jnp.ones_like, p), "enc/weight", "enc/bias")


def of_lists():
    p = [{"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)}, {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}]
    return Case(p, jax.tree.map(jnp.ones_like, p), "0/kernel", "0/bias")


CASES = {
    "dict": plain(lambda: {n: {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)} for n in ("enc", "head")}),
    "list": of_lists,
    "dataclass": plain(lambda: {n: Layer(jnp.ones((4, 3)), jnp.zeros(3)) for n in ("enc", "head")}),
    "linen": of_linen,
    "nnx": of_nnx,
    "equinox": of_equinox,
}


@pytest.mark.parametrize("container", CASES, ids=str)
def test_the_same_paths_at_init_and_update(container):
    case = CASES[container]()
    first = case.weight.split("/")[0]
    rate = {"learning_rate": gx.tunable(0.5)}
    tx = gx.groups([(f"^{first}/", rate, "first"), (gx.named("bias"), gx.freeze(), "rest")], default=gx.momentum(0.1))
    state = tx.init(case.params)
    table = {row.path: row for row in gx.explain(tx, case.params).rows}
    assert {case.weight, case.bias} < set(table)
    assert {row.group for row in table.values()} == {"first", "rest", "default"}
    assert (table[case.weight].learning_rate, table[case.bias].learning_rate) == ("0.5", "0.5")
    state = gx.with_hyperparams(state, learning_rate=0.25)
    updates, new = jax.jit(tx.update)(case.grads, state, case.params)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    by_path = {row.path: u for row, u in zip(table.values(), jax.tree.leaves(updates), strict=True)}
    for path, row in table.items():
        expected = {"first": -0.25, "rest": 0.0, "default": -0.1}[row.group]
        np.testing.assert_allclose(by_path[path], np.full(row.shape, expected), rtol=1e-6, err_msg=path)


def test_tunables_through_nnx_optimizer():
    model = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    tx = gx.groups([("bias", {"learning_rate": gx.tunable(0.5)}, "biases")], default=gx.sgd(0.1))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    before = np.asarray(model.bias[...])
    optimizer.opt_state = gx.with_hyperparams(optimizer.opt_state, learning_rate=2.0)
    optimizer.update(model, jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param)))
    np.testing.assert_allclose(model.bias[...], before - 2.0, rtol=1e-6)
