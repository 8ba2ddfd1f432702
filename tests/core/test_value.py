from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.schema import schema
from gradxform.core.value import Child, Pair, Value


class Inner(Value):
    rate: gx.Hyper = 0.5
    word: str = "a"


class OuterRule(Value):
    inner: Child[Inner]
    decay: gx.Beta = 0.9
    flag: bool = False


def test_it_compares_hashes_and_prints_by_content():
    a, b = OuterRule(Inner(0.1)), OuterRule(Inner(0.1))
    assert a == b
    assert hash(a) == hash(b)
    assert a != OuterRule(Inner(0.2))
    assert a != OuterRule(Inner(0.1), flag=True)
    assert repr(a) == "outer_rule(inner=inner(rate=0.1, word='a'), decay=0.9, flag=False)"


def test_it_is_frozen():
    with pytest.raises(AttributeError):
        Inner().rate = 3.0


def test_its_numbers_are_leaves_and_the_rest_is_structure():
    leaves, structure = jax.tree.flatten(OuterRule(Inner(0.1, "b"), 0.75, True))
    assert leaves == [0.1, 0.75, 0.25]
    assert structure.unflatten(leaves) == OuterRule(Inner(0.1, "b"), 0.75, True)
    assert structure == jax.tree.structure(OuterRule(Inner(7.0, "b"), 0.1, True))
    assert structure != jax.tree.structure(OuterRule(Inner(0.1, "c"), 0.75, True))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(OuterRule(Inner()))]
    assert paths[0] == ".inner.rate"


def test_kinds_are_read_from_annotations():
    assert [f.kind for f in schema(OuterRule)] == ["child", "beta", "static"]
    assert [f.kind for f in schema(Inner)] == ["hyper", "static"]


def test_kinds_are_read_where_annotations_are_objects():
    """A user's module may not import annotations from the future."""
    scope = {"gx": gx, "Value": Value}
    exec("class Plain(Value):\n    a: gx.Hyper\n    b: gx.Beta\n    c: int\n", scope)
    leaves = jax.tree.leaves(scope["Plain"](1.0, 0.5, 3))
    assert leaves == [1.0, 0.5, 0.5]


def test_exchanged_fields_leave_the_rest():
    a = OuterRule(Inner(0.1), flag=True)
    assert a.with_fields(decay=0.3) == OuterRule(Inner(0.1), 0.3, True)
    assert a == OuterRule(Inner(0.1), flag=True)


def test_unflattening_checks_nothing():
    structure = jax.tree.structure(gx.adam(0.1))
    odd = structure.unflatten([object()] * structure.num_leaves)
    assert isinstance(odd, gx.GradientTransformation)


def test_a_pair_keeps_the_digits_of_its_complement():
    b = 0.9999
    pair = Pair(jnp.float32(b), jnp.float32(1 - b))
    assert abs(float(1 - pair) - (1 - b)) < 1e-11
    assert abs(float(1 - jnp.float32(b)) - (1 - b)) > 1e-9
    x = jnp.array([1.0, 2.0])
    np.testing.assert_array_equal(pair * x, jnp.float32(b) * x)
    np.testing.assert_array_equal(x * 1.0 * pair, x * jnp.float32(b))
    np.testing.assert_allclose(pair**2, b**2, rtol=2e-7)
    np.testing.assert_allclose(2.0 - pair, 2 - b, rtol=1e-7)


def test_a_transformation_through_jit_keeps_the_digits():
    """As an argument of `jit` its numbers are float32 data; its complement 1 - b2 must not be 1e-4 off."""
    g, tx = jnp.array([1.0, -3.0]), gx.scale_by_adam(0.9, 0.9999, eps=0.0)
    state = tx.init(g)
    run = jax.jit(lambda tx, g, s: tx.update(g, s))
    for _ in range(3):
        updates, state = run(tx, g, state)
        np.testing.assert_allclose(updates, np.sign(g), rtol=1e-6)
    np.testing.assert_allclose(gx.view(state, "nu"), (1 - 0.9999**3) * np.asarray(g) ** 2, rtol=1e-6)


def test_a_sweep_compiles_once():
    traces = []

    @jax.jit
    def run(tx, g):
        traces.append(1)
        return tx.update(g, tx.init(g))[0]

    g = jnp.array([1.0, 2.0])
    for rate in (0.1, 0.2, 0.4):
        np.testing.assert_allclose(run(gx.chain(gx.clip(1.5), gx.sgd(rate)), g), -rate * np.array([1, 1.5]), rtol=1e-6)
    assert len(traces) == 1


def test_a_class_attribute_that_is_given_is_told_how_it_becomes_a_field():
    class Plain(Value):
        rate = 0.5

    with pytest.raises(TypeError, match="'rate'; it takes none; to make rate a field, annotate it in the class"):
        Plain(rate=1.0)
    with pytest.raises(TypeError, match=r"unexpected argument 'other'; it takes none$"):
        Plain(other=1.0)
