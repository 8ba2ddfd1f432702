"""Write every public name of optax, and what it is here, into `docs/coming_from_optax.md`.

`python -m benchmarks.optax_names`, for the installed optax; a name that several namespaces have is shown once.
"""

from __future__ import annotations

import collections
import types
from collections.abc import Iterator
from typing import Any

import optax

import gradxform as gx
import gradxform.compat.optax
from benchmarks.compiled.tables import DOCS, into, table
from gradxform.compat.instead import instead
from gradxform.compat.optax.recipes import NAMED, verdict

PAGE = DOCS / "coming_from_optax.md"


def public() -> Iterator[tuple[str, Any]]:
    """Each public name of optax with what it stands for, those of namespaces as `contrib.muon`, once each."""
    seen = set()
    spaces = {"": optax, **{n: x for n, x in vars(optax).items() if isinstance(x, types.ModuleType) and n[0] != "_"}}
    for space, module in spaces.items():
        for name in dir(module):
            x = getattr(module, name)
            if name.startswith("_") or isinstance(x, types.ModuleType) or name in seen:
                continue
            seen.add(name)
            yield f"{space}.{name}" if space else name, x


def rows() -> list[list[str]]:
    return [
        [f"`{name}`", verdict(x), native(NAMED.get(getattr(x, "__name__", ""), name.split(".")[-1]))]
        for name, x in public()
    ]


def native(name: str) -> str:
    return f"`gx.{name}`" if hasattr(gx, name) else (instead(name) or "").replace("|", "or")


def counts() -> str:
    found = collections.Counter(verdict(x) for _, x in public())
    return f"{found.total()} names: " + ", ".join(f"{n} {words}" for words, n in found.most_common()) + ".\n\n"


def written() -> str:
    names = table(["optax", "behind the import", "natively"], rows())
    return into(PAGE.read_text(), "names", counts() + names, "make verified")


if __name__ == "__main__":
    PAGE.write_text(written())
