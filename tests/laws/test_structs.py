"""`init` of shapes gives the state's shapes, with shardings kept, and allocates nothing."""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tests.catalogue import Entry, entries, memories, tree


def sharding(shape: tuple[int, ...]) -> NamedSharding:
    """Laid out over a mesh of one device, in a way that tells the leaves apart."""
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("x", "y"))
    return NamedSharding(mesh, PartitionSpec(*("x", "y")[: len(shape)]))


@entries()
def test_init_of_shapes_gives_the_shapes_of_the_state(entry: Entry):
    p = tree(0)
    structs = entry.tx.init(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), p))
    state = entry.tx.init(p)
    assert jax.tree.structure(structs) == jax.tree.structure(state)
    for struct, x in zip(jax.tree.leaves(structs), jax.tree.leaves(state), strict=True):
        assert isinstance(struct, jax.ShapeDtypeStruct)
        assert (struct.shape, struct.dtype, struct.weak_type) == (x.shape, x.dtype, x.weak_type)


@entries()
def test_init_of_shapes_keeps_shardings(entry: Entry):
    p = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding(x.shape)), tree(0))
    state = entry.tx.init(p)
    for leaf, memory in zip(jax.tree.leaves(p), memories(state), strict=True):
        assert all(x.sharding == leaf.sharding for x in jax.tree.leaves(memory) if x.shape == leaf.shape)
    assert all(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(state))
