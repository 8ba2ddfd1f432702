"""All of optax is behind our import, in every namespace."""

from __future__ import annotations

import importlib
import inspect
import types
from typing import Any

import optax as theirs
import pytest

import gradxform.compat.optax as optax  # noqa: F401 - and with it optax's own modules

NAMESPACES = ["", *(name for name, x in vars(theirs).items() if isinstance(x, types.ModuleType) and name[0] != "_")]


def public(namespace: str) -> dict[str, Any]:
    module = getattr(theirs, namespace) if namespace else theirs
    return {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_every_public_name_is_here(namespace: str) -> None:
    ours = importlib.import_module(".".join(filter(None, ["gradxform.compat.optax", namespace])))
    for name, x in public(namespace).items():
        found = getattr(ours, name)
        if inspect.isfunction(x):
            assert inspect.signature(found) == inspect.signature(x), name
        elif not isinstance(x, types.ModuleType):
            assert type(found) is type(x), name
