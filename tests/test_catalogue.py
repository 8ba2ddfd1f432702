"""The catalogue is complete, and its entries are values."""

from __future__ import annotations

import jax
import pytest

import gradxform as gx
from tests.catalogue import ENTRIES, Entry, entries, public_transformations


def test_every_public_transformation_is_in_the_catalogue():
    assert public_transformations() == {entry.function for entry in ENTRIES}


def test_public_names_are_those_of_the_package():
    assert [name for name in gx.__all__ if not hasattr(gx, name)] == []
    assert len(set(gx.__all__)) == len(gx.__all__)
    assert public_transformations() <= set(gx.__all__)


@pytest.mark.parametrize("reach", list(gx.Reach))
def test_every_reach_occurs(reach):
    assert any(entry.reach == reach for entry in ENTRIES)


@entries()
def test_built_again_it_is_equal(entry: Entry):
    again = entry.make()
    assert again == entry.tx
    assert hash(again) == hash(entry.tx)
    assert again.init == entry.tx.init
    assert hash(again.update) == hash(entry.tx.update)


@entries()
def test_init_and_update_are_one_object(entry: Entry):
    init, update = entry.tx
    assert entry.tx.init is init
    assert entry.tx.update is update


@entries()
def test_different_entries_differ(entry: Entry):
    assert [other.name for other in ENTRIES if other.tx == entry.tx] == [entry.name]


@entries()
def test_it_prints_without_addresses(entry: Entry):
    assert " at 0x" not in repr(entry.tx)


@entries()
def test_it_survives_a_flatten(entry: Entry):
    leaves, structure = jax.tree.flatten(entry.tx)
    assert structure.unflatten(leaves) == entry.tx
