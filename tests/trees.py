"""Any tree, drawn at random: shapes, dtypes and containers, with `None`, nothing, scalars and empty arrays in it."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st


class Layer(NamedTuple):
    kernel: Any
    bias: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Block:
    kernel: Any
    bias: Any


FLOATS = (jnp.float32, jnp.bfloat16, jnp.float16)
SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)
NAMES = st.sampled_from(["kernel", "bias", "scale", "layer_0", "a.b"])


class Param(NamedTuple):
    """A parameter to be: shape, its dtype, its gradient's dtype, or an integer or a missing one."""

    shape: tuple[int, ...]
    dtype: Any
    grad: Any

    def draw(self, seed: int, grad: bool) -> Any:
        if self.dtype is None or (grad and self.grad is None):
            return None
        x = np.random.default_rng(seed).standard_normal(self.shape)
        return jnp.asarray(x, self.grad if grad else self.dtype)


PARAMS = st.one_of(
    st.builds(Param, SHAPES, st.sampled_from(FLOATS), st.sampled_from((*FLOATS, None))),
    st.builds(Param, SHAPES, st.just(jnp.int32), st.none()),
    st.just(Param((), None, None)),
)


def containers(children: Any) -> Any:
    return st.one_of(
        st.dictionaries(NAMES, children, max_size=3),
        st.dictionaries(NAMES, children, max_size=3).map(OrderedDict),
        st.lists(children, max_size=3),
        st.lists(children, max_size=3).map(tuple),
        st.builds(Layer, children, children),
        st.builds(Block, children, children),
    )


TREES = st.recursive(PARAMS, containers, max_leaves=5)


def is_param(x: Any) -> bool:
    return isinstance(x, Param)


def draw(tree: Any, grad: bool, seed: int = 0) -> Any:
    """A tree of parameters, or of gradients."""
    leaves, structure = jax.tree.flatten(tree, is_leaf=is_param)
    return structure.unflatten([leaf.draw(seed + 2 * i + grad, grad) for i, leaf in enumerate(leaves)])


def rests(tree: Any) -> bool:
    """Whether a parameter has no gradient: what is corrected by steps must then count its own."""
    leaves = jax.tree.leaves(tree, is_leaf=is_param)
    return any(x.grad is None and x.dtype in FLOATS for x in leaves)
