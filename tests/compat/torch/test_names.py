"""Which array of torch's is which parameter here: torch's own names, layouts, parts; with the live torch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import torch as compat
from gradxform.compat.torch.names import Place, by_name, listed, places

torch = pytest.importorskip("torch")


class Net(torch.nn.Module):
    """Square and oblong layers, in an order that is not that of the sorted names."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(5, 4)
        self.q, self.k = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm = torch.nn.LayerNorm(4)
        self.conv = torch.nn.Conv2d(1, 3, (2, 3))


T = "T"
MAP = {
    "table.weight": "table/embedding",
    "q.weight": ("q/kernel", T),
    "q.bias": "q/bias",
    "k.weight": ("k/kernel", T),
    "k.bias": "k/bias",
    "attention.in_proj_weight": [(f"attention/{x}/kernel", T, (4, 4)) for x in ("query", "key", "value")],
    "attention.in_proj_bias": [(f"attention/{x}/bias", "", (4,)) for x in ("query", "key", "value")],
    "attention.out_proj.weight": ("attention/out/kernel", T, (4, 4)),
    "attention.out_proj.bias": "attention/out/bias",
    "norm.weight": "norm/scale",
    "norm.bias": "norm/bias",
    "conv.weight": ("conv/kernel", T),
    "conv.bias": "conv/bias",
}
HEADS = {x: {"kernel": jnp.zeros((4, 2, 2)), "bias": jnp.zeros((2, 2))} for x in ("query", "key", "value")}
LIKE = {
    "table": {"embedding": jnp.zeros((5, 4))},
    "q": {"kernel": jnp.zeros((4, 4)), "bias": jnp.zeros(4)},
    "k": {"kernel": jnp.zeros((4, 4)), "bias": jnp.zeros(4)},
    "attention": {**HEADS, "out": {"kernel": jnp.zeros((2, 2, 4)), "bias": jnp.zeros(4)}},
    "norm": {"scale": jnp.zeros(4), "bias": jnp.zeros(4)},
    "conv": {"kernel": jnp.zeros((2, 3, 1, 3)), "bias": jnp.zeros(3)},
}
WORDS, IMAGE = np.array([[1, 3, 0]]), np.asarray(np.random.default_rng(1).normal(size=(1, 1, 4, 4)), np.float32)


def there(net: Any) -> Any:
    x = net.table(torch.tensor(WORDS))
    x = torch.tanh(net.k(torch.tanh(net.q(x))))
    x = net.norm(net.attention(x, x, x, need_weights=False)[0])
    return (x**3).sum() + (net.conv(torch.tensor(IMAGE)) ** 2).sum()


def here(p: Any) -> Any:
    """The same, written for flax's layouts."""
    x = p["table"]["embedding"][WORDS]
    for name in ("q", "k"):
        x = jnp.tanh(x @ p[name]["kernel"] + p[name]["bias"])
    a = p["attention"]
    q, k, v = (jnp.einsum("bte,ehd->bthd", x, a[n]["kernel"]) + a[n]["bias"] for n in ("query", "key", "value"))
    seen = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / 2**0.5)
    x = jnp.einsum("bhqk,bkhd,hde->bqe", seen, v, a["out"]["kernel"]) + a["out"]["bias"]
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5) * p["norm"]["scale"]
    image = jax.lax.conv_general_dilated(
        jnp.moveaxis(IMAGE, 1, -1), p["conv"]["kernel"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jnp.sum((x + p["norm"]["bias"]) ** 3) + jnp.sum((image + p["conv"]["bias"]) ** 2)


def trained(net: Any, opt: Any, steps: int) -> None:
    for _ in range(steps):
        opt.zero_grad()
        there(net).backward()
        opt.step()


def test_weights_and_statistics_by_one_map() -> None:
    """Two steps there, two here, two more there: as six there. Embedding, linear, attention, norm, convolution."""
    torch.manual_seed(0)
    net = Net()
    opt = torch.optim.Adam(net.named_parameters(), lr=0.01)
    trained(net, opt, 2)
    params = compat.load_params(net.state_dict(), LIKE, MAP)
    np.testing.assert_allclose(here(params), there(net).item(), rtol=1e-5)
    tx = compat.adam(0.01)
    state = compat.load_state(opt.state_dict(), params, MAP)
    trained(net, opt, 2)
    step = jax.jit(lambda p, s: tx.update(jax.grad(here)(p), s, p))
    for _ in range(2):
        updates, state = step(params, state)
        params = gx.apply_updates(params, updates)
    expected = compat.load_params(net.state_dict(), LIKE, MAP)
    for found in (params, expected):  # its gradient is 0 but for rounding, which Adam makes a whole step of
        found["attention"]["key"]["bias"] = jnp.zeros((2, 2))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), params, expected)
    saved = compat.save_state(state, params, MAP, optimizer_state_dict=opt.state_dict())["state"]
    for key, entries in opt.state_dict()["state"].items():
        assert {name: x.shape for name, x in saved[key].items()} == {
            name: tuple(x.shape) for name, x in entries.items()
        }
        np.testing.assert_allclose(saved[key]["exp_avg"], entries["exp_avg"], atol=2e-4)
    back = compat.load_state({**opt.state_dict(), "state": saved}, params, MAP)
    jax.tree.map(np.testing.assert_array_equal, back, state)


def named(names: Any, shape: tuple[int, ...], **more: Any) -> dict[str, Any]:
    group = {"momentum": 0.9, "dampening": 0, "nesterov": False, "params": [*range(len(names))], **more}
    state = {i: {"momentum_buffer": np.full(shape, i + 1.0, np.float32)} for i in range(len(names))}
    return {"state": state, "param_groups": [group]}


def test_torchs_names_are_used_where_there_are_some() -> None:
    params = {"k": {"weight": jnp.zeros((3, 3))}, "q": {"weight": jnp.zeros((3, 3))}}
    by_names = named("qk", (3, 3), param_names=["q.weight", "k.weight"])
    found = gx.view(compat.load_state(by_names, params), "trace")
    np.testing.assert_array_equal([found["q"]["weight"][0, 0], found["k"]["weight"][0, 0]], [1.0, 2.0])
    found = gx.view(compat.load_state(by_names, {"params": params}), "trace")["params"]
    np.testing.assert_array_equal([found["q"]["weight"][0, 0], found["k"]["weight"][0, 0]], [1.0, 2.0])
    tx = compat.sgd(0.1, 0.9)
    saved = compat.save_state(tx.init(params)._replace(count=0), params, optimizer_state_dict=by_names)
    assert saved == {"state": {}}
    saved = compat.save_state(compat.load_state(by_names, params), params, optimizer_state_dict=by_names)["state"]
    np.testing.assert_array_equal([saved[i]["momentum_buffer"][0, 0] for i in range(2)], [1.0, 2.0])


def test_what_shapes_do_not_tell_is_refused() -> None:
    params = {"k": jnp.zeros((2, 3)), "q": jnp.zeros((3, 2))}
    with pytest.raises(ValueError, match=r"names must tell 'k' from 'q', .* param_groups have no param_names"):
        compat.load_state(named("qk", (2, 3)), params)
    with pytest.raises(ValueError, match=r"names must tell 'k' from 'q', .* torch calls its parameters \['a', 'b'\]"):
        compat.load_state(named("qk", (2, 3), param_names=["a", "b"]), params)
    with pytest.raises(ValueError, match="names must tell 'k' from 'q'"):
        compat.load_state(named("qk", (2, 3), param_names=["k", "k"]), params)
    square = {"q": {"kernel": jnp.zeros((3, 3))}}
    for names in (None, ["q/kernel"], {0: "q/kernel"}, {"q.weight": "q/kernel"}):
        with pytest.raises(ValueError, match=r"names must say how the axes of 'q/kernel' stand"):
            compat.load_state(named("q", (3, 3), param_names=["q.weight"]), square, names)
    with pytest.raises(ValueError, match=r"of shape \(2, 3\), the parameter 'k' has \(3, 2\); to transpose it, names"):
        compat.load_state(named("q", (2, 3)), {"k": jnp.zeros((3, 2))})


def test_a_layout_says_how_axes_stand() -> None:
    params, value = {"q": {"kernel": jnp.zeros((3, 3))}}, np.arange(9.0).reshape(3, 3)
    whole = named("q", (3, 3), param_names=["q.weight"])
    whole["state"][0]["momentum_buffer"] = value
    for layout, expected in (("T", value.T), ("", value), ((1, 0), value.T)):
        for key in (0, "q.weight"):
            state = compat.load_state(whole, params, {key: ("q/kernel", layout)})
            np.testing.assert_array_equal(gx.view(state, "trace")["q"]["kernel"], expected)
    assert Place("w", "T").axes(4) == (2, 3, 1, 0)
    assert Place("w", "T").whole((5, 3, 2)) == (2, 3, 5)
    assert Place("w", (2, 3, 0, 1)).write(np.zeros((2, 3, 4, 5))).shape == (4, 5, 2, 3)
    turned = Place("w", (2, 0, 1))
    np.testing.assert_array_equal(
        turned.read(turned.write(np.arange(24.0).reshape(2, 3, 4)), (2, 3, 4)).ravel(), range(24)
    )


BAD: list[tuple[Any, type, str]] = [
    ({0: ("a", "N")}, ValueError, "layout \"T\", \"\" or a tuple of axes for 'a', got 'N'"),
    ({0: ("a", "T", 3)}, ValueError, "a tuple as torch's shape for 'a', got 3"),
    ({0: ("a", (0, 2))}, ValueError, r"the layout \(0, 2\) for 'a', which is none of 2 axes"),
    ({0: ("a", "T", (5, 5))}, ValueError, r"torch's shape \(5, 5\) for 'a', which has \(2, 3\)"),
    ({0: 3}, TypeError, r"paths, or to \(path, layout\), got 3"),
    ({"a": "a"}, ValueError, "names has torch's name 'a', and nothing tells its index"),
    ({0: ["a", "a"]}, ValueError, "every parameter once, and 0 leads to 'a' again"),
]


@pytest.mark.parametrize(("names", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_names_are_refused(names: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        compat.load_state(named("a", (2, 3)), {"a": jnp.zeros((2, 3))}, names)


def test_names_alone() -> None:
    shapes = {"fc/kernel": 0, "fc/weight": 0, "norm/scale": 0, "params/table/embedding": 0, "b/bias": 0}
    titles = {"fc.weight": 0, "norm.weight": 1, "table.weight": 2, "b.bias": 3, "c.bias": 4}
    assert by_name(titles, shapes) == {1: "norm/scale", 2: "params/table/embedding", 3: "b/bias"}
    assert listed([("a", "T"), "b"]) == [Place("a", "T", None, 0, 2), Place("b", None, None, 1, 2)]
    assert places(None, {"a": jnp.ones(1), "b": None}, None) == {0: [Place("a")]}
    assert places({}, {"a": jnp.ones(1)}, [{"params": [0]}]) == {}


def test_parts_stand_or_rest_together() -> None:
    """torch keeps one entry for what is two parameters here: both have a momentum, or none has."""
    params, tx = {"a": jnp.zeros(2), "b": jnp.zeros(2)}, compat.sgd(0.1, 0.9)
    _, state = tx.update({"a": jnp.ones(2), "b": None}, tx.init(params), params)
    with pytest.raises(ValueError, match="the state of 0 needs all its parts, and 'b' has not"):
        compat.save_state(state, params, [["a", "b"]])
    _, state = tx.update({"a": jnp.ones(2), "b": jnp.full(2, 3.0)}, tx.init(params), params)
    saved = compat.save_state(state, params, [["a", "b"]])["state"]
    np.testing.assert_array_equal(saved[0]["momentum_buffer"], [1.0, 1.0, 3.0, 3.0])
