from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx

X = np.arange(2 * 6 * 20).reshape(2, 6, 20)


@pytest.mark.parametrize(
    ("spec", "stacks"),
    [
        (gx.Matrix("layer in out", "in", "out"), [X]),
        (gx.Matrix("layer out in", "in", "out"), [X.transpose(0, 2, 1)]),
        (gx.Matrix("layer in out", "layer in", "out"), [X.reshape(1, 12, 20)]),
        (gx.Matrix("layer in out", "in layer", "out"), [X.transpose(1, 0, 2).reshape(1, 12, 20)]),
        (
            gx.Matrix("layer in (head out)", "in", "out", head=4),
            [X.reshape(2, 6, 4, 5).transpose(0, 2, 1, 3).reshape(8, 6, 5)],
        ),
        (
            gx.Matrix("layer in (head out)", "in", "out", out=5),
            [X.reshape(2, 6, 4, 5).transpose(0, 2, 1, 3).reshape(8, 6, 5)],
        ),
        (
            gx.Matrix("layer (a b) out", rows="b", columns="out a", b=3),
            [X.reshape(2, 2, 3, 20).transpose(0, 2, 3, 1).reshape(2, 3, 40)],
        ),
        (gx.Matrix("layer in (q + k + v)", "in", "q k v", q=12, k=4), [X[..., :12], X[..., 12:16], X[..., 16:]]),
        (
            gx.Matrix("layer in (q dim + kv dim)", "in", "dim", q=4, kv=1, dim=4),
            [X[..., :16].reshape(2, 6, 4, 4).transpose(0, 2, 1, 3).reshape(8, 6, 4), X[..., 16:]],
        ),
        (gx.Matrix("layer (a + b) out", "a b", "out", a=2), [X[:, :2], X[:, 2:]]),
    ],
    ids=repr,
)
def test_folding(spec: Any, stacks: list[Any]) -> None:
    folded = spec.fold(jnp.asarray(X))
    assert len(folded) == len(stacks) == max(1, len(spec.parts))
    for ours, theirs, shape in zip(folded, stacks, spec.shapes(X.shape), strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.shape == shape
    np.testing.assert_array_equal(spec.unfold(folded, X.shape), X)


def test_it_is_a_value() -> None:
    spec = gx.Matrix("layer in (head out)", rows="in", columns="out", head=12)
    assert spec == eval(repr(spec), {"Matrix": gx.Matrix})
    assert hash(spec) == hash(gx.Matrix("layer in (head out)", "in", "out", head=12))
    assert repr(spec) == "Matrix('layer in (head out)', rows='in', columns='out', head=12)"
    assert gx.Matrix("in (q dim + kv dim)", "in", "dim", q=2, dim=3).parts == ("q", "kv")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: gx.Matrix(3, "in", "out"), TypeError, "axes must be names in a string, got 3"),
        (lambda: gx.Matrix("in out", ["in"], "out"), TypeError, "rows must be names"),
        (lambda: gx.Matrix("in out", "in", None), TypeError, "columns must be names"),
        (lambda: gx.Matrix("in, out", "in", "out"), ValueError, "axes must be names.*'in, out'"),
        (lambda: gx.Matrix("in (out", "in", "out"), ValueError, "axes must be names"),
        (lambda: gx.Matrix("", "in", "out"), ValueError, "axes must be names"),
        (lambda: gx.Matrix("in out + other", "in", "out"), ValueError, "axes must be names"),
        (lambda: gx.Matrix("(a + b) (c + d)", "a b", "c d"), ValueError, "along one axis alone"),
        (lambda: gx.Matrix("in out", "inn", "out"), ValueError, "rows names 'inn', and the axes are 'in out'"),
        (lambda: gx.Matrix("in out", "in", "out", head=3), ValueError, "a size names 'head'"),
        (lambda: gx.Matrix("in out", "in", ""), ValueError, "must have rows and columns"),
        (lambda: gx.Matrix("in out", "in", "in out"), ValueError, "none that is both"),
        (lambda: gx.Matrix("in (a + b)", "in", "a", a=2), ValueError, "must have rows and columns"),
        (lambda: gx.Matrix("in in out", "in", "out"), ValueError, "a name twice"),
        (lambda: gx.Matrix("in (h out)", "in", "out", h=0), ValueError, "h must be"),
        (lambda: gx.Matrix("in (h out)", "in", "out", h=1.5), TypeError, "h must be"),
        (lambda: gx.matrices(3), TypeError, "matrices works on transformations made of rules"),
        (lambda: gx.matrices(gx.lamb(0.1), [3]), TypeError, r"specs must map selectors to gx.Matrix\(...\), got"),
        (lambda: gx.matrices(gx.lamb(0.1), {"a": "in out"}), TypeError, "got 'in out' of type str for 'a'"),
        (
            lambda: gx.matrices(gx.lamb(0.1), {3: gx.Matrix("in out", "in", "out")}),
            TypeError,
            "a key of specs must be a selector",
        ),
        (lambda: gx.matrices(gx.lamb(0.1), together=-1), ValueError, "together must be"),
    ],
)
def test_refusals(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (gx.Matrix("in out", "in", "out"), "is for 2 axes"),
        (gx.Matrix("layer in (head out)", "in", "out", head=3), "does not make 20 of 'head out'"),
        (gx.Matrix("layer in (head out)", "in", "out"), "give the sizes of all but one"),
        (gx.Matrix("layer in (head out)", "in", "out", head=4, out=4), "does not make 20"),
        (gx.Matrix("layer in out", "in", "out", out=4), "does not make 20 of 'out'"),
        (gx.Matrix("layer in (q + k + v)", "in", "q k v", q=4), "leaves the parts of axis 2 open"),
        (gx.Matrix("layer in (q + k)", "in", "q k", q=20), "leaves the parts of axis 2 open"),
        (gx.Matrix("layer in (q + k)", "in", "q k", q=4, k=4), "parts of 8 together along axis 2"),
    ],
    ids=repr,
)
def test_what_does_not_fit(spec: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        spec.shapes(X.shape)


def test_explain_says_what_is_which() -> None:
    params = {name: jnp.zeros(shape) for name, shape in {"qkv": (2, 6, 20), "out": (6, 6), "norm": (6,)}.items()}
    spec = gx.Matrix("layer in (q + kv)", "in", "q kv", q=12)
    tx = gx.groups([("norm", gx.adam(0.1))], default=gx.chain(gx.trace(0.9), gx.orthogonalize(), gx.sgd(0.1)))
    table = gx.explain(gx.matrices(tx, {"qkv": spec}), params)
    told = {row.path: row.matrices for row in table.rows}
    assert told == {"norm": "-", "out": "6 x 6", "qkv": "q: 2 of 6 x 12, kv: 2 of 6 x 8"}
    assert "matrices" in str(table).splitlines()[0]
    assert "matrices" not in str(gx.explain(gx.adam(0.1), params))
