"""The catalogue is complete, and its entries are values."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

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
    assert {*gx.__all__} <= {*dir(gx)}


def test_type_checkers_see_the_public_names():
    """The stub imports each name from where the package finds it, and the subpackages."""
    tree = ast.parse(Path(gx.__file__).with_suffix(".pyi").read_text())
    seen = [(alias.name, node.module) for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    names = [(name, gx._HOMES[name]) for name in gx.__all__]
    assert sorted(seen) == sorted([*names, *((package, "gradxform") for package in gx._PACKAGES)])


def test_only_what_is_used_is_imported():
    code = "import sys, gradxform as gx; gx.sgd(0.1); print(*sorted(m for m in sys.modules if 'gradxform.' in m))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "gradxform.optimizers.sgd" in run.stdout
    assert "gradxform.optimizers.lbfgs" not in run.stdout
    assert "gradxform.strategies" not in run.stdout


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
