"""Functional gradient transformations for JAX.

The public names stand in `__init__.pyi`, in the order of a gradient's life: type checkers read them there, and so does
this file, which imports a module when one of its names is first asked for.
"""

import re
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

_STUB = re.findall(r"^from (\S+) import (\w+)", Path(__file__).with_suffix(".pyi").read_text("utf-8"), re.MULTILINE)
_HOMES = {name: module for module, name in _STUB if module != __name__}
_PACKAGES = [name for module, name in _STUB if module == __name__]

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("gradxform")
    if name in _PACKAGES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        instead = None if name.startswith("_") else import_module(f"{__name__}.compat.instead").instead(name)
        advice = f"; instead of optax.{name}: {instead}" if instead else ""
        # `from gradxform import name` asks first from inside the import system, which drops an AttributeError's words.
        error = ImportError if instead and sys._getframe(1).f_code.co_name == "_handle_fromlist" else AttributeError
        raise error(f"module {__name__!r} has no attribute {name!r}{advice}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value = import_module(f"{__name__}.core.spellings").answered(value)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES, "__version__"})
