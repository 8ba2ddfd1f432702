"""Trees of booleans and of labels that do not fit the parameters are refused by path, in words."""

from __future__ import annotations

import enum
import inspect
from typing import Any

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradxform as gx

P = {"a": jnp.ones(2), "b": {"c": jnp.ones(2), "d": jnp.ones(3)}, "n": None}
FITS: dict[str, tuple[Any, set[str]]] = {
    "whole": ({"a": True, "b": {"c": False, "d": True}}, {"a", "b/d"}),
    "None at None": ({"a": True, "b": {"c": False, "d": True}, "n": None}, {"a", "b/d"}),
    "a flag at None": ({"a": True, "b": {"c": False, "d": True}, "n": True}, {"a", "b/d"}),
    "prefix": ({"a": False, "b": True}, {"b/c", "b/d"}),
    "one for all": (True, {"a", "b/c", "b/d"}),
    "none at all": (False, set()),
    "arrays": ({"a": np.bool_(True), "b": jnp.array(False)}, {"a"}),
}
MISFITS: dict[str, tuple[Any, str]] = {
    "missing": ({"a": True}, r"no {what} for 'b/c', 'b/d'; the paths are: a, b/c, b/d, n"),
    "missing in a subtree": ({"a": True, "b": {"c": True}}, r"no {what} for 'b/d'"),
    "None at an array": ({"a": None, "b": True}, r"no {what} for 'a'"),
    "surplus": ({"a": True, "b": True, "e": False}, r"a surplus {what} at 'e', where no parameter is"),
    "surplus in a subtree": ({"a": True, "b": {"c": True, "d": True, "e": True}}, r"a surplus {what} at 'b/e'"),
    "misplaced": ({"a": True, "c": True, "b": {"d": True}}, r"no {what} for 'b/c' and a surplus {what} at 'c'"),
    "too deep": ({"a": {"x": True}, "b": True}, r"no {what} for 'a' and a surplus {what} at 'a/x'"),
    "empty": ({}, r"no {what} for 'a', 'b/c', 'b/d'"),
    "another container": ([True, True, True], r"a surplus {what} at '0', '1', '2'"),
}


def masked_functions() -> list[tuple[str, str]]:
    """Every public function with an argument that is a mask, and the name of the argument."""
    found = []
    for name in dir(gx):
        f = getattr(gx, name)
        if inspect.isfunction(f):
            found += [(name, x) for x, p in inspect.signature(f).parameters.items() if "Mask" in str(p.annotation)]
    return found


def for_some(function: str) -> bool:
    """Whether it is two methods, each for some parameters: of masks it asks for what its own are told."""
    return "where" in inspect.signature(getattr(gx, function)).parameters


FIRST: dict[str, tuple[Any, ...]] = {
    "add_corrected_decay": (0.1, 0.1),
    "masked": (gx.sgd(0.1),),
    "with_weight_decay": (gx.sgd(0.1), 0.1),
}
RATELESS = ("add_decayed_weights", "subtract_decayed_weights", "freeze")


def make(function: str, argument: str, mask: Any) -> Any:
    first = FIRST.get(function, () if function in RATELESS else (0.1,))
    known = inspect.signature(getattr(gx, function)).parameters
    decay = {name: 0.1 for name in ("weight_decay", "weight_decay_rate") if name in known}
    return getattr(gx, function)(*first, **{argument: mask}, **(decay if len(first) < 2 else {}))


@pytest.mark.parametrize("given", ["tree", "function"])
@pytest.mark.parametrize("misfit", MISFITS)
@pytest.mark.parametrize(("function", "argument"), [x for x in masked_functions() if not for_some(x[0])])
def test_a_mask_that_does_not_fit_is_refused(function: str, argument: str, misfit: str, given: str) -> None:
    mask, words = MISFITS[misfit]
    tx = make(function, argument, mask if given == "tree" else lambda params: mask)
    with pytest.raises(ValueError, match=f"{argument} has .*{words.format(what='entry')}"):
        tx.init(P)


@pytest.mark.parametrize(("function", "argument"), [x for x in masked_functions() if for_some(x[0])])
def test_a_mask_without_the_matrices_of_a_method_for_matrices_is_refused(function: str, argument: str) -> None:
    params = {"layer": {"kernel": jnp.ones((16, 16)), "bias": jnp.ones(16)}}
    with pytest.raises(ValueError, match=f"{argument} has .*no entry for .*'layer/kernel'"):
        make(function, argument, {"layer": {"bias": False}}).init(params)
    with pytest.raises(ValueError, match=f"{argument} has .*a surplus entry at 'other'"):
        make(function, argument, {"layer": True, "other": True}).init(params)


@pytest.mark.parametrize("fit", FITS)
def test_a_mask_that_fits_chooses_what_it_says(fit: str) -> None:
    mask, expected = FITS[fit]
    tx = gx.masked(gx.scale(2.0), mask)
    updates, _ = tx.update(P, tx.init(P), P)
    found = {"a": updates["a"], "b/c": updates["b"]["c"], "b/d": updates["b"]["d"]}
    assert {path for path, u in found.items() if u[0] == 2.0} == expected


def labelled(mask: Any) -> Any:
    return jax.tree.map(lambda flag: "x" if flag else "y", mask)


@pytest.mark.parametrize("given", ["tree", "function"])
@pytest.mark.parametrize("misfit", MISFITS)
def test_labels_that_do_not_fit_are_refused(misfit: str, given: str) -> None:
    mask, words = MISFITS[misfit]
    labels = labelled(mask)
    tx = gx.partition({"x": gx.sgd(0.1), "y": gx.sgd(0.2)}, labels if given == "tree" else lambda params: labels)
    with pytest.raises(ValueError, match=f"param_labels has .*{words.format(what='label')}"):
        tx.init(P)


@pytest.mark.parametrize("fit", FITS)
def test_labels_that_fit_choose_what_they_say(fit: str) -> None:
    mask, expected = FITS[fit]
    tx = gx.partition({"x": gx.scale(2.0), "y": gx.scale(0.5)}, lambda params: labelled(mask))
    updates, _ = tx.update(P, tx.init(P), P)
    found = {"a": updates["a"], "b/c": updates["b"]["c"], "b/d": updates["b"]["d"]}
    assert {path for path, u in found.items() if u[0] == 2.0} == expected


@pytest.mark.parametrize("given", ["tree", "function"])
def test_a_label_without_transformation_is_refused(given: str) -> None:
    labels = {"a": "sgd", "b": "typo"}
    with pytest.raises(ValueError, match=r"the label 'typo' of 'b.*' has no transformation; there are \['sgd'\]"):
        gx.partition({"sgd": gx.sgd(0.1)}, labels if given == "tree" else lambda params: labels).init(P)


class Plain(enum.Enum):
    X, Y = 0, 1


class Integer(enum.IntEnum):
    X, Y = 0, 1


class Text(str, enum.Enum):  # noqa: UP042 - the spelling from before StrEnum
    X, Y = "x", "y"


@pytest.mark.parametrize(
    ("keys", "labels"),
    [
        ((0, 1), (np.int64(0), jnp.int32(1))),
        ((0, 1), (Integer.X, Integer.Y)),
        ((Integer.X, Integer.Y), (0, np.int32(1))),
        ((Plain.X, Plain.Y), (Plain.X, Plain.Y)),
        (("x", "y"), (Text.X, Text.Y)),
        ((Text.X, Text.Y), ("x", "y")),
        ((True, False), (np.bool_(True), False)),
    ],
    ids=str,
)
def test_a_label_is_known_by_equality(keys: Any, labels: Any) -> None:
    """As in the dict that optax looks it up in."""
    tree = {"a": labels[0], "b": labels[1]}
    for param_labels in (tree, lambda params: tree):
        tx = gx.partition({keys[0]: gx.scale(2.0), keys[1]: gx.scale(0.5)}, param_labels)
        updates, _ = tx.update(P, tx.init(P), P)
        assert (updates["a"][0], updates["b"]["d"][0]) == (2.0, 0.5)


def test_labels_that_print_alike_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels of transforms must print differently, got \[1, '1'\]"):
        gx.partition({1: gx.sgd(0.1), "1": gx.sgd(0.2)}, {"a": 1, "b": "1"})


@pytest.mark.parametrize("flag", [1, 0.0, "true", np.array([True, False])], ids=str)
def test_a_mask_of_anything_but_booleans_is_refused(flag: Any) -> None:
    for mask in ({"a": flag, "b": True}, lambda params: {"a": flag, "b": True}):
        with pytest.raises(TypeError, match=r"a mask holds booleans, got .* at 'a'"):
            gx.masked(gx.sgd(0.1), mask).init(P)


def test_inside_a_group_a_mask_may_speak_of_the_whole_tree_or_of_the_group() -> None:
    for mask in ({"a": True, "b": False}, {"a": True}, lambda params: {"a": True}):
        tx = gx.groups([("^a", gx.chain(gx.add_decayed_weights(1.0, mask)))], default=gx.identity())
        updates, _ = tx.update(P, tx.init(P), P)
        assert updates["a"][0] == 2.0
    for mask, words in (({"b": True}, "no entry for 'a'"), ({"a": True, "e": True}, "a surplus entry at 'e'")):
        with pytest.raises(ValueError, match=f"mask has {words}"):
            gx.groups([("^a", gx.add_decayed_weights(1.0, mask))], default=gx.identity()).init(P)


def test_what_is_frozen_needs_no_entry() -> None:
    tx = gx.chain(gx.freeze(gx.under("b")), gx.add_decayed_weights(1.0, {"a": True}))
    updates, _ = tx.update(P, tx.init(P), P)
    assert updates["a"][0] == 2.0


def test_the_nearest_entry_counts() -> None:
    """haiku's names have slashes in them."""
    params = {"net": {"w": jnp.ones(2)}, "net/~/linear": {"w": jnp.ones(2)}}
    tx = gx.masked(gx.scale(2.0), {"net": True, "net/~/linear": False})
    updates, _ = tx.update(params, tx.init(params), params)
    assert (updates["net"]["w"][0], updates["net/~/linear"]["w"][0]) == (2.0, 1.0)
    with pytest.raises(ValueError, match="mask has no entry for 'net/~/linear/w'"):
        gx.masked(gx.scale(2.0), {"net": True}).init(params)


def test_an_empty_tree_takes_any_mask() -> None:
    assert gx.masked(gx.adam(0.1), {"a": True}).init({}).leaves == {}


BOXED = {"kernel": linen.Partitioned(jnp.ones(2), ("x",)), "bias": jnp.ones(2)}


@pytest.mark.parametrize(
    "mask",
    [
        {"kernel": True, "bias": False},
        {"kernel": linen.Partitioned(True, ("x",)), "bias": False},
        {"kernel": nnx.Param(True), "bias": False},
        nnx.State({"kernel": nnx.Param(True), "bias": nnx.Param(False)}),
        lambda params: jax.tree_util.tree_map_with_path(lambda path, _: "bias" not in str(path), params),
    ],
    ids=["plain", "linen", "nnx", "State", "function"],
)
def test_a_mask_in_boxes_or_without_fits_parameters_in_boxes_or_without(mask: Any) -> None:
    tx = gx.masked(gx.scale(2.0), mask)
    plain = {"kernel": jnp.ones(2), "bias": jnp.ones(2)}
    variables = nnx.State({name: nnx.Param(x) for name, x in plain.items()})
    for params in (BOXED, plain, variables):
        updates, _ = tx.update(plain, tx.init(params), plain)
        assert (updates["kernel"][0], updates["bias"][0]) == (2.0, 1.0)


@pytest.mark.parametrize(
    "mask", ["kernel", gx.named("bias"), ~gx.named("kernel"), lambda p: {"kernel": True, "bias": False}]
)
def test_one_mask_of_matrices_and_others_may_name_parameters_of_either(mask):
    params = {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    tx = gx.dion2(0.1, where="kernel", weight_decay_mask=mask)
    updates, _ = tx.update(zeros, tx.init(params), params)
    assert {k for k, u in updates.items() if u.any()} == {"kernel" if mask == "kernel" or callable(mask) else "bias"}


@pytest.mark.parametrize("method", [gx.soap, gx.kl_soap, gx.shampoo, gx.galore, gx.apollo, gx.dion2])
def test_a_name_that_matches_nothing_in_either_is_refused(method):
    params = {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}
    name = "weight_decay_mask" if method is gx.dion2 else "mask"
    for mask in ("kernel", "bias"):
        jax.eval_shape(method(0.1, where="kernel", **{name: mask}).init, params)
    for typo in ("typo", gx.named("kernel", "typo")):
        with pytest.raises(ValueError, match=r"'typo'\) matches no parameter; the paths are: bias, kernel"):
            method(0.1, where="kernel", **{name: typo}).init(params)
