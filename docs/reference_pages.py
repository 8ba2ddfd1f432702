"""Write the reference: a page for each public name, and an index of them for each subpackage, by module."""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import example_programs
from example_programs import places
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.nodes import make_refnode
from written_examples import RATES, STEPS

import gradxform as gx
from gradxform import compat
from gradxform.core import types

FACTS = ("Reach", "State", "Raises", "Source")


def write(folder: Path) -> None:
    """A page for each name, one for each subpackage, and an index of these."""
    pages: dict[str, dict[str, list[str]]] = {}
    for name, module in places().items():
        pages.setdefault(package_of(name), {}).setdefault(module, []).append(name)
    files = {"index.rst": _index([*pages, "types"]), "types.rst": _types()}
    for title, modules in pages.items():
        files[f"{title}.rst"] = "\n".join(_package(title, modules))
        files |= {f"{page_of(name)}.rst": _entry(module, name) for module, names in modules.items() for name in names}
    folder.mkdir(exist_ok=True)
    for page in folder.glob("*.rst"):
        if page.name not in {*files, "catalogue.rst"}:
            page.unlink()
    for name, text in files.items():
        write_changed(folder / name, text)
    homes = {"gx": gx} | {name: getattr(compat, name) for name in compat._HOMES if name.endswith("_schedules")}
    for name, code in RATES.items():
        if not (picture := folder / f"{page_of(name)}.svg").exists():
            gx.inspect.plot(eval(code, homes), STEPS, picture)


def write_changed(path: Path, text: str) -> None:
    """Only where it changed, so that an incremental build stays one."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def package_of(full: str) -> str:
    return full.rpartition(".")[0].removeprefix("gradxform").strip(".") or places()[full].split(".")[1]


def page_of(full: str) -> str:
    """The page of a public name: `adam`, `compat.torch.adam`; the packages' own pages are `optimizers`, ..."""
    name = full.removeprefix("gradxform.")
    return f"{name}_" if name in {package_of(other) for other in places()} else name


def _index(pages: Iterable[str]) -> str:
    entries = "\n".join(f"   {title}" for title in pages)
    return f"{_title('Reference', '=')}\n.. toctree::\n   :maxdepth: 1\n\n{entries}\n"


def _types() -> str:
    """The names that signatures use for what goes in and out."""
    lines = [_title("Types", "="), _prose(types), ""]
    for name, said in attributes(types.__name__).items():
        if f"gradxform.{name}" not in places():
            house_style(None, "data", f"{types.__name__}.{name}", None, None, said)
            lines += [f".. py:data:: {types.__name__}.{name}", "", *(f"   {line}" for line in said), ""]
    return "\n".join(lines)


def attributes(module: str) -> dict[str, list[str]]:
    """What stands under each name of a module that has no docstring of its own."""
    docs = ModuleAnalyzer.for_module(module).find_attr_docs()
    return {name: list(lines) for (_, name), lines in docs.items()}


def linked_type(_app: Any, env: Any, node: Any, content: Any) -> Any:
    """A type of a signature leads to the page of types, the kinds of transformations to that of all."""
    target = {"Chain": "gradxform.GradientTransformation"}.get(node.get("reftarget"))
    target = target or f"{types.__name__}.{node.get('reftarget')}"
    if node.get("refdomain") != "py" or target not in (known := env.domains.python_domain.objects):
        return None
    found = known[target]
    return make_refnode(_app.builder, node["refdoc"], found.docname, found.node_id, content, target)


def _package(title: str, modules: dict[str, list[str]]) -> Iterator[str]:
    yield _title(title, "=")
    yield _prose(importlib.import_module(f"gradxform.{title}"))
    for module, names in modules.items():
        if len(modules) > 1:
            yield _title(module.removeprefix("gradxform.").removeprefix(f"{title}."), "-")
            yield _prose(importlib.import_module(module))
        yield "\n".join(f"* :doc:`{name.rpartition('.')[2]} <{page_of(name)}>`: {summary(name)}" for name in names)


def summary(full: str) -> str:
    """The first paragraph of what is said of a name, formula included."""
    return said[0] if (said := _said(full)) else ""


def thing(full: str) -> Any:
    package, _, name = full.rpartition(".")
    return getattr(importlib.import_module(package), name)


def documented(x: Any) -> bool:
    """Whether it has a docstring of its own; what is said of data stands under it in its module."""
    return inspect.isclass(x) or inspect.isroutine(x)


def _said(full: str) -> list[str]:
    x, name = thing(full), full.rpartition(".")[2]
    at_module = attributes(places()[full]).get(name, [])
    lines = inspect.cleandoc(x.__doc__ or "").splitlines() if documented(x) else at_module
    house_style(None, "", full, x, None, lines)
    return lines


def _entry(module: str, full: str) -> str:
    """The page of a name: where it belongs, what it is, a picture of a schedule, a program, the pages that use it."""
    package, name = package_of(full), full.removeprefix("gradxform.")
    x = thing(full)
    text = f":orphan:\n{_title(name.removeprefix('compat.'), '=')}\n"
    text += f":doc:`Reference <index>` / :doc:`{package} <{package}>` / {module.removeprefix('gradxform.')}\n\n"
    if documented(x):
        text += f".. auto{'class' if inspect.isclass(x) else 'function'}:: {full}\n\n"
    else:
        text += f".. py:data:: {full}\n\n" + textwrap.indent("\n".join(_said(full)), "   ") + "\n\n"
    if name in RATES:
        text += f".. image:: {page_of(full)}.svg\n   :alt: {name} over {STEPS} steps\n\n"
    if code := example_programs.example(full, module):
        text += f".. rubric:: Example\n\n.. code-block:: python\n\n{textwrap.indent(code, '   ')}\n\n"
    used = [page for page in example_programs.used_in(full) if page not in ("README", "index")]
    return text + (f"Used in {', '.join(f':doc:`/{page}`' for page in used)}.\n" if used else "")


def _title(text: str, line: str) -> str:
    return f"\n{text}\n{line * len(text)}\n"


def _prose(module: Any) -> str:
    lines = inspect.cleandoc(module.__doc__ or "").splitlines()
    house_style(None, "module", "", module, None, lines)
    return "\n".join(lines)


def house_style(_app: Any, _what: str, name: str, obj: Any, _options: Any, lines: list[str]) -> None:
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
        lines += [" ".join(filter(None, [_head(head), inline(body, name.rpartition(".")[0])])), ""]


def _head(text: str) -> str:
    return f"**{_escaped(text)}**" if text.endswith(":") else text


def inline(text: str, namespace: str = "gradxform") -> str:
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _escaped(text)
    return "".join(_code(part, namespace) if i % 2 else _escaped(part) for i, part in enumerate(parts))


class _Written(str):
    """An annotation as it is written."""

    __repr__ = str.__str__


def signature(_app: Any, _what: str, _name: str, obj: Any, *_: Any) -> tuple[str, None] | None:
    """Types by the names that the source gives them, which are fewer and shorter than what stands behind them."""
    try:
        found = inspect.signature(obj)
    except (TypeError, ValueError):
        return None
    bases = getattr(obj, "__mro__", ())[::-1]
    fields = {name: annotation for base in bases for name, annotation in inspect.get_annotations(base).items()}
    plain = [p.replace(annotation=_written(p.annotation, fields.get(p.name))) for p in found.parameters.values()]
    return str(found.replace(parameters=plain, return_annotation=_written(found.return_annotation))), None


def _written(annotation: Any, field: Any = None) -> Any:
    """The words of the source; of a class made from its fields, those of the field."""
    words = field if annotation is inspect.Parameter.empty and field else annotation
    words = getattr(words, "__forward_arg__", words)
    return _Written(words) if isinstance(words, str) else words


def _code(text: str, namespace: str) -> str:
    for home in (namespace, "gradxform"):
        if f"{home}.{text}" in places():
            return rf"\ :py:obj:`{text} <{home}.{text}>`\ "
    return rf"\ ``{text}``\ " if text.strip() else "``"


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_|`])", r"\\\1", text)
