"""Packages that are read as namespaces: a name is the public function, whatever the file is called that holds it."""

from __future__ import annotations

import sys
import types
from collections.abc import Container
from importlib import import_module
from typing import Any

from gradxform.core.spellings import answered


class Namespace(types.ModuleType):
    """A module that gives the public names of the package around it; its files stay what `import_module` gives."""

    __chosen__: Container[str] | None

    def __setattr__(self, name: str, value: Any) -> None:
        """The import system binds each file's name here; where it is that of a function, the function stays."""
        if not (isinstance(value, types.ModuleType) and name in _public()):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        root, chosen = import_module(ROOT), self.__dict__["__chosen__"]
        if name in _public() and (chosen is None or name in chosen):
            return getattr(root, name)
        if not name.startswith("_") and name not in dir(root):
            getattr(root, name)  # its error says what does the job of a name that is known elsewhere
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


ROOT = __name__.split(".")[0]


def _public() -> Container[str]:
    names: Container[str] = import_module(ROOT).__all__
    return names


def namespace(module: str, chosen: Container[str] | None = None) -> None:
    """Make a module give public names; chosen: these alone."""
    sys.modules[module].__class__ = Namespace
    held = sys.modules[module].__dict__
    held["__chosen__"] = chosen
    held.update({name: answered(x) for name, x in held.items() if name in _public()})
