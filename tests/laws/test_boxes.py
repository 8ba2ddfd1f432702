"""A box around a part of the parameters changes nothing but that statistics of their shape stand in the same box."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import pytest

from tests.catalogue import Entry, entries, memories, tree


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Box:
    """As flax's `Partitioned`: an array, and how its axes are called."""

    value: Any
    names: tuple[str, ...] = dataclasses.field(metadata={"static": True})


def is_box(x: Any) -> bool:
    return isinstance(x, Box)


def in_part(p: Any) -> Any:
    """The kernel in a box; bias and scale as they are."""
    return {"dense": p["dense"] | {"kernel": Box(p["dense"]["kernel"], ("rows", "columns"))}, "scale": p["scale"]}


def all_over(p: Any) -> Any:
    return jax.tree.map(lambda x: Box(x, ("rows", "columns")[: x.ndim]), p)


def plain(t: Any) -> Any:
    """As nnx hands trees to `update`."""
    return jax.tree.map(lambda x: x.value if is_box(x) else x, t, is_leaf=is_box)


def program(entry: Entry, p: Any, g: Any, state: Any) -> str:
    def once(p: Any, g: Any, state: Any) -> Any:
        return jax.tree.leaves((entry.tx.init(p), entry.update(g, state, p)))

    jax.eval_shape(once, p, g, state)  # What is asked of a rule once, and leaves dead code in a trace, is asked here.
    return str(jax.make_jaxpr(lambda *args: once(*args))(p, g, state))


boxed = pytest.mark.parametrize("box", [in_part, all_over])


@entries()
def test_the_program_is_that_of_plain_leaves(entry: Entry):
    """Of `init` and of `update`: the same names, so the same masks, groups, seeds and packs."""
    p, g = tree(0), tree(1)
    expected = program(entry, p, g, jax.eval_shape(entry.tx.init, p))
    for box in (in_part, all_over):
        assert program(entry, box(p), box(g), jax.eval_shape(entry.tx.init, box(p))) == expected, box


@boxed
@entries()
def test_statistics_of_a_parameters_shape_stand_in_its_box(entry: Entry, box: Any):
    p = tree(0)
    state = jax.eval_shape(entry.tx.init, box(p))
    places = jax.tree.leaves(box(p), is_leaf=is_box)
    for parameter, memory in zip(places, memories(state), strict=True):
        for x in jax.tree.leaves(memory, is_leaf=is_box):
            if is_box(parameter) and plain(x).shape == parameter.value.shape:
                assert x.names == parameter.names
            else:
                assert not is_box(x)
    assert jax.tree.structure(plain(state)) == jax.tree.structure(jax.eval_shape(entry.tx.init, p))


@boxed
@entries()
def test_the_state_keeps_its_boxes(entry: Entry, box: Any):
    """Where gradients and parameters come in boxes as at `init`, and where they come without, as from nnx."""
    p, g = tree(0), tree(1)
    state = jax.eval_shape(entry.tx.init, box(p))
    _, after = jax.eval_shape(entry.update, box(g), state, box(p))
    assert jax.tree.structure(after) == jax.tree.structure(state)
    _, after = jax.eval_shape(entry.update, g, plain(state), p)
    assert jax.tree.structure(after) == jax.tree.structure(plain(state))
