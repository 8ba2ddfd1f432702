"""Parameter groups as lists of dicts: who is in them, what they say, and what is refused."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

import gradxform as gx
from gradxform.compat.common.groups import Disjoint, Refusals, grouped, paths_in, read, refuse_repeated, where_of
from gradxform.core.branches import Split
from gradxform.core.chain import Chain
from gradxform.core.tree import open_tree

PARAMS = {"fc": {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}, "g": jnp.ones(2)}
REFUSALS = Refusals(empty=ValueError, element=TypeError, nameless=KeyError)


def made(**options: Any) -> Any:
    return gx.sgd(options["lr"])


def moved(groups: Any, **kwargs: Any) -> dict[str, float]:
    tx = grouped(groups, {"lr": 0.5}, made, REFUSALS, **kwargs)
    grads = jax.tree.map(jnp.ones_like, PARAMS)
    updates, _ = tx.update(grads, tx.init(PARAMS), PARAMS)
    return {path: float(u.ravel()[0]) for path, u in zip(*open_tree(updates)[:2], strict=True)}


def test_one_for_all_without_groups() -> None:
    assert moved(None) == {"fc/b": -0.5, "fc/w": -0.5, "g": -0.5}


def test_a_group_says_what_it_changes_and_what_is_in_none_stays() -> None:
    """Keys of no meaning are ignored."""
    assert moved([{"params": "w", "lr": 0.25, "foo": 1}, {"params": ["g"]}]) == {"fc/b": 0.0, "fc/w": -0.25, "g": -0.5}


@pytest.mark.parametrize(
    "params",
    [
        ["fc/w", "fc/b"],
        (path for path in ("fc/w", "fc/b")),
        "^fc/",
        lambda path, leaf: path.startswith("fc"),
        gx.under("fc"),
        {"fc": PARAMS["fc"]},
    ],
    ids=["paths", "generator", "pattern", "function", "selector", "subtree"],
)
def test_ways_to_choose(params: Any) -> None:
    assert moved([{"params": params}]) == {"fc/b": -0.5, "fc/w": -0.5, "g": 0.0}


REFUSED: list[tuple[str, Any, type[Exception], str]] = [
    ("a dict", {"params": ["g"]}, TypeError, "groups must"),
    ("an array", jnp.ones(2), TypeError, "groups must"),
    ("nothing in it", [], ValueError, "at least one dict"),
    ("a number in it", [1.0], TypeError, r"groups must hold dicts, got 1\.0"),
    ("no params", [{"lr": 0.1}], KeyError, "which parameters"),
    ("a set", [{"params": {"g", "fc/w"}}], TypeError, "must have an order, got a set"),
    ("numbers", [{"params": [1.0]}], TypeError, r"params must be paths.*got 1\.0"),
    ("one path twice", [{"params": ["g"]}, {"params": ["g", "fc/w"]}], ValueError, "'g' is in two of them"),
]


@pytest.mark.parametrize(("groups", "error", "words"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused_as_the_framework_refuses(groups: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        grouped(groups, {"lr": 0.5}, made, REFUSALS)
    assert caught.type is error


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"groups": [{"params": "w"}, {"params": "fc"}]}, "'fc/w' is in group0 and group1"),
        ({"groups": [{"params": ["fc/w", "h"]}]}, "'h'"),
        ({"groups": [{"params": "w"}], "named": (where_of(["h"]),)}, "'h'"),
    ],
    ids=["shared", "missing", "named"],
)
def test_refused_where_the_parameters_are_known(kwargs: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        moved(**kwargs)


def test_what_a_parameter_in_two_groups_raises_is_said_by_the_class() -> None:
    class Loud(Disjoint):
        refusal = RuntimeError

    groups = Loud((("one", where_of("w")), ("two", where_of("fc"))), "rest")
    tx = Chain((Split(groups, dict.fromkeys(("one", "two", "rest"), gx.sgd(0.1))),))
    with pytest.raises(RuntimeError, match="'fc/w' is in one and two"):
        tx.init(PARAMS)


def test_paths_of_a_list_and_of_a_part_of_the_tree() -> None:
    assert paths_in("params", ["a/b", "c"]) == ["a/b", "c"]
    assert paths_in("params", {"fc": {"w": PARAMS["fc"]["w"]}}) == ["fc/w"]
    with pytest.raises(TypeError, match="order_params must be paths"):
        paths_in("order_params", 3)


def test_a_list_is_read_once() -> None:
    assert read(({"params": [name]} for name in "ab"), REFUSALS) == [{"params": ["a"]}, {"params": ["b"]}]


def test_a_path_twice_in_one_list_is_no_repetition() -> None:
    refuse_repeated([where_of(["a", "a"]), where_of("a")])
    with pytest.raises(ValueError, match="'a' is in two"):
        refuse_repeated([where_of(["a"]), where_of(["b", "a"])])
