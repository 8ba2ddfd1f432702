"""Write the reference: one page a subpackage, one section a module, in the order of `gradxform/__init__.py`."""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.pycode import ModuleAnalyzer

import gradxform as gx

FACTS = ("Reach", "State", "Raises", "Source")


def public_names() -> dict[str, str]:
    """Public name -> the module that it is imported from, in the order of `gx.__all__`."""
    return {name: gx._HOMES[name] for name in gx.__all__}


def write(folder: Path) -> None:
    """One page a subpackage, and an index of them."""
    pages: dict[str, dict[str, list[str]]] = {}
    for name, module in public_names().items():
        subpackage = module.split(".")[1]
        pages.setdefault(subpackage, {}).setdefault(module, []).append(name)
    folder.mkdir(exist_ok=True)
    for page in folder.glob("*.rst"):
        if page.stem not in {*pages, "index"}:
            page.unlink()
    for subpackage, modules in pages.items():
        _write(folder / f"{subpackage}.rst", "\n".join(_page(subpackage, modules)))
    entries = "\n".join(f"   {subpackage}" for subpackage in pages)
    _write(folder / "index.rst", f"{_title('Reference', '=')}\n.. toctree::\n\n{entries}\n")


def _page(subpackage: str, modules: dict[str, list[str]]) -> Iterator[str]:
    yield _title(subpackage, "=")
    yield _prose(importlib.import_module(f"gradxform.{subpackage}"))
    yield "\n.. currentmodule:: gradxform\n"
    for module, names in modules.items():
        if len(modules) > 1:
            yield _title(module.removeprefix("gradxform.").removeprefix(f"{subpackage}."), "-")
            yield _prose(importlib.import_module(module))
        yield from (_entry(module, name) for name in names)


def _entry(module: str, name: str) -> str:
    x = getattr(gx, name)
    if inspect.isclass(x) or inspect.isroutine(x):
        return f"\n.. auto{'class' if inspect.isclass(x) else 'function'}:: {name}\n"
    lines = list(ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name), []))
    house_style(None, "data", name, None, None, lines)
    return f"\n.. py:data:: {name}\n\n" + textwrap.indent("\n".join(lines), "   ") + "\n"


def _title(text: str, line: str) -> str:
    return f"\n{text}\n{line * len(text)}\n"


def _prose(module: Any) -> str:
    lines = inspect.cleandoc(module.__doc__ or "").splitlines()
    house_style(None, "module", "", module, None, lines)
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    """Only where it changed, so that an incremental build stays one."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def house_style(_app: Any, _what: str, _name: str, obj: Any, _options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with code in backticks: make reStructuredText of them, a paragraph for each fact."""
    try:
        arguments = list(inspect.signature(obj).parameters)
    except (TypeError, ValueError):
        arguments = []
    heads = "|".join([*FACTS, *map(re.escape, arguments)])
    start = re.compile(rf"(?:{heads})(?:, (?:{heads}))*: |[-*] ")
    paragraphs: list[list[str]] = [[]]
    for line in map(str.strip, lines):
        if not line or start.match(line):
            paragraphs.append([])
        paragraphs[-1].append(line)
    lines[:] = []
    for text in filter(None, (" ".join(paragraph).strip() for paragraph in paragraphs)):
        found = start.match(text)
        head, body = (found[0].strip(), text[found.end() :]) if found else ("", text)
        lines += [" ".join(filter(None, [_head(head), _inline(body)])), ""]


def _head(text: str) -> str:
    return f"**{_escaped(text)}**" if text.endswith(":") else text


def _inline(text: str) -> str:
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _escaped(text)
    return "".join(_code(part) if i % 2 else _escaped(part) for i, part in enumerate(parts))


def _code(text: str) -> str:
    if text in public_names():
        return rf"\ :py:obj:`{text} <gradxform.{text}>`\ "
    return rf"\ ``{text}``\ " if text.strip() else "``"


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_|`])", r"\\\1", text)
