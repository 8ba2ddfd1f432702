from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.tree import open_tree
from tests.trajectories import as_written


class Point(NamedTuple):
    x: object
    y: object


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    w: object
    b: object


@pytest.mark.parametrize(
    ("tree", "paths"),
    [
        ({"a": {"b": 1.0, "c": 2.0}}, ["a/b", "a/c"]),
        ([1.0, (2.0, 3.0)], ["0", "1/0", "1/1"]),
        (Point(1.0, {"k": 2.0}), ["x", "y/k"]),
        (Layer(1.0, [2.0]), ["w", "b/0"]),
        ({"a": None, "b": 1.0}, ["a", "b"]),
        (3.0, [""]),
        ({}, []),
        ({"t": gx.Rows(jnp.array([0]), jnp.ones((1, 2)), (3, 2))}, ["t"]),
        ({1: {2: 0.0}}, ["1/2"]),
    ],
    ids=as_written,
)
def test_paths_are_names_joined_by_slashes(tree, paths):
    assert open_tree(tree)[0] == paths


def test_two_leaves_with_one_path_are_refused():
    with pytest.raises(ValueError, match="two leaves have the path '1/a'"):
        gx.sgd(0.1).init(Twins())


@jax.tree_util.register_pytree_with_keys_class
class Twins:
    """A node whose two children have one name."""

    def tree_flatten_with_keys(self):
        key = jax.tree_util.GetAttrKey("1/a")
        return ((key, jnp.ones(1)), (key, jnp.ones(1))), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls()


P = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}


def update(g, p=P, made_for=P, tx=None):
    tx = tx or gx.momentum(0.1)
    return tx.update(g, tx.init(made_for), p)


@pytest.mark.parametrize(
    ("g", "error", "words"),
    [
        (
            {"w": jnp.ones((2, 3)), "b": jnp.ones(1)},
            ValueError,
            r"gradient of 'b' has shape \(1,\), its parameter \(3,\)",
        ),
        (
            {"w": jnp.ones((2, 3)), "b": jnp.ones(())},
            ValueError,
            r"gradient of 'b' has shape \(\), its parameter \(3,\)",
        ),
        ({"w": jnp.ones((2, 3)), "b": 1.0}, ValueError, r"gradient of 'b' has shape \(\)"),
        ({"w": jnp.ones((3, 2)), "b": jnp.ones(3)}, ValueError, r"'w' has shape \(3, 2\), its parameter \(2, 3\)"),
        ({"w": jnp.ones((2, 3))}, ValueError, "only the parameters have 'b'"),
        (P | {"c": jnp.ones(1)}, ValueError, "only the gradients have 'c'"),
        (P | {"b": "three"}, TypeError, "gradient of 'b' must be an array, Rows or None, got str"),
        (P | {"b": jnp.ones(3, int)}, ValueError, "gradient of 'b' has dtype int"),
        (
            P | {"b": jnp.ones(3, complex)},
            ValueError,
            r"gradient of 'b' is complex \(complex64\), its parameter is not",
        ),
    ],
)
def test_gradients_that_do_not_fit_are_refused_with_their_path(g, error, words):
    with pytest.raises(error, match=words):
        update(g)
    with pytest.raises(error, match=words):
        jax.jit(gx.momentum(0.1).update)(g, gx.momentum(0.1).init(P), P) if error is ValueError else update(g)


def test_gradients_without_parameters_are_held_against_the_state():
    with pytest.raises(ValueError, match=r"the state knows no leaf 'c'; it was made for b, w"):
        update(P | {"c": jnp.ones(1)}, p=None)
    with pytest.raises(ValueError, match=r"trace at 'b': the state holds .*32\[3\]\), wanted is .*32\[1, 3\]"):
        update({"w": P["w"], "b": jnp.ones((1, 3))}, p=None)


def test_a_state_of_other_parameters_is_refused():
    with pytest.raises(ValueError, match="the state knows no leaf 'b'"):
        update(P, made_for={"w": P["w"]})


def test_an_integer_parameter_is_refused_only_with_a_gradient():
    p = P | {"n": jnp.array(3)}
    updates, state = update(P | {"n": None}, p, p)
    assert updates["n"] is None
    assert state.leaves["n"] == {}
    updates, _ = update(P | {"n": np.zeros((), jax.dtypes.float0)}, p, p)
    assert updates["n"] is None
    with pytest.raises(ValueError, match=r"'n' is an integer parameter \(int32\) and has a gradient"):
        update(P | {"n": jnp.array(1.0)}, p, p)


def test_none_in_both_is_no_leaf_at_all():
    p = P | {"gone": None}
    updates, state = update(P | {"gone": None}, p, p)
    assert updates["gone"] is None
    assert state.leaves["gone"] is None
    assert gx.apply_updates(p, updates)["gone"] is None


def test_leaves_are_matched_by_name_across_containers():
    made = gx.momentum(0.1)
    p = [{"w": jnp.ones(2)}, Layer(jnp.ones(3), jnp.ones(4))]
    g = ({"w": jnp.full(2, 2.0)}, {"b": jnp.full(4, 3.0), "w": jnp.full(3, 4.0)})
    updates, _ = made.update(g, made.init(p), p)
    np.testing.assert_allclose(updates[0]["w"], -0.2)
    np.testing.assert_allclose(updates[1]["w"], -0.4)
    np.testing.assert_allclose(updates[1]["b"], -0.3)


@pytest.mark.parametrize("p", [np.ones(2), np.ones(2, np.float64), [1.0, 2.0], np.float64(3.0), 2.0], ids=as_written)
def test_numpy_arrays_and_numbers_are_parameters(p):
    """float64 from NumPy is float32 where JAX has no wider one, without a warning."""
    tx = gx.adamw(0.1)
    g = jax.tree.map(np.ones_like, p)
    updates, state = tx.update(g, tx.init(p), p)
    assert all(x.dtype == jnp.float32 and not x.weak_type for x in jax.tree.leaves((updates, state.leaves)))
    jax.tree.map(
        lambda new, old: np.testing.assert_allclose(new, np.asarray(old) - 0.1, atol=1e-4),
        gx.apply_updates(p, updates),
        p,
    )


def test_what_is_no_array_is_refused_with_its_path():
    with pytest.raises(TypeError, match="the parameter 'a/b' must be an array, a number or None, got str"):
        gx.sgd(0.1).init({"a": {"b": "x"}})


@pytest.mark.parametrize("p", [{}, [], (), None, {"a": None}, {"a": {}}], ids=as_written)
def test_empty_trees(p):
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(0.1))
    updates, state = tx.update(p, tx.init(p), p)
    assert updates == p
    assert state.count == 1


def test_leaves_without_elements():
    p = {"a": jnp.zeros((0, 3)), "b": jnp.ones(2)}
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(0.1))
    state = tx.init(p)
    assert state.leaves["a"] == {}
    updates, _ = tx.update(p, state, p)
    assert updates["a"].shape == (0, 3)


def test_a_gradient_of_every_example_is_told_by_the_shape_of_one():
    tx, p = gx.differentially_private_aggregate(1.0, 0.0, 0), {"w": jnp.ones((2, 2))}
    words = r"'w' has shape \(5, 2, 3\) \(5 examples of shape \(2, 3\)\), its parameter \(2, 2\)"
    with pytest.raises(ValueError, match=words):
        tx.update({"w": jnp.ones((5, 2, 3))}, tx.init(p), p)
