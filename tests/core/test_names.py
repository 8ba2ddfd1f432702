"""`transforms`, `schedules` and `contrib` as optax has them: a name there is the function."""

from __future__ import annotations

import importlib
import types

import optax
import pytest

import gradxform as gx


@pytest.mark.parametrize("space", ["transforms", "schedules", "contrib"])
def test_each_name_that_both_have_is_the_function(space: str) -> None:
    theirs = getattr(optax, space)
    shared = {n for n in dir(theirs) if n in gx.__all__ and not isinstance(getattr(theirs, n), types.ModuleType)}
    assert len(shared) >= 15
    for name in shared:
        assert getattr(getattr(gx, space), name) is getattr(gx, name), name


def test_files_stay_files() -> None:
    module = importlib.import_module("gradxform.transforms.freeze")
    assert isinstance(module, types.ModuleType)
    assert module.freeze is gx.freeze is gx.transforms.freeze
    assert isinstance(gx.transforms.average, types.ModuleType)


@pytest.mark.parametrize(
    ("space", "name", "words"),
    [
        ("transforms", "flatten", "instead of optax.flatten: gx.packed"),
        ("schedules", "inject_hyperparams", "instead of optax.inject_hyperparams: gx.tunable"),
        ("contrib", "adamw", "'gradxform.contrib' has no attribute 'adamw'"),
        ("transforms", "optimizers", "'gradxform.transforms' has no attribute 'optimizers'"),
        ("transforms", "_freeze", "'gradxform.transforms' has no attribute '_freeze'"),
    ],
)
def test_other_names_are_not_there(space: str, name: str, words: str) -> None:
    with pytest.raises(AttributeError, match=words):
        getattr(getattr(gx, space), name)
