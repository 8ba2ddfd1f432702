"""Write the reference: one page a subpackage, one section a module, in the order of `gradxform/__init__.py`."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.pycode import ModuleAnalyzer

import gradxform as gx
from gradxform import compat

FACTS = ("Reach", "State", "Raises", "Source")
APART = ["inspect", "testing", *(f"compat.{home}" for name, home in compat._HOMES.items() if name != "optax")]
"""What has names of its own; `compat.optax` has optax's."""

PICTURES = {
    "constant_schedule": "gx.constant_schedule(0.1)",
    "cosine_decay_schedule": "gx.cosine_decay_schedule(0.1, 100, alpha=0.1)",
    "cosine_onecycle_schedule": "gx.cosine_onecycle_schedule(100, 0.1)",
    "cosine_restarts_schedule": "gx.cosine_restarts_schedule(0.1, 20, t_mul=2, m_mul=0.8)",
    "exponential_decay": "gx.exponential_decay(0.1, 20, 0.5, staircase=True)",
    "inverse_sqrt_schedule": "gx.inverse_sqrt_schedule(0.0, 0.1, 20)",
    "inverse_time_decay": "gx.inverse_time_decay(0.1, 20, 0.5)",
    "join_schedules": "gx.join_schedules([gx.linear_schedule(0.0, 0.1, 20), gx.cosine_decay_schedule(0.1, 80)], [20])",
    "linear_onecycle_schedule": "gx.linear_onecycle_schedule(100, 0.1)",
    "linear_schedule": "gx.linear_schedule(0.1, 0.01, 60, transition_begin=20)",
    "multi_step_schedule": "gx.multi_step_schedule(0.1, (40, 80), 0.3)",
    "natural_exp_decay": "gx.natural_exp_decay(0.1, 20, 0.5)",
    "noam_schedule": "gx.noam_schedule(512, 20)",
    "over": "gx.over(100, gx.warmup_stable_decay_schedule(0.0, 0.1, 0.1, 0.6, 0.3))",
    "piecewise_constant_schedule": "gx.piecewise_constant_schedule(0.1, {40: 0.3, 80: 0.3})",
    "piecewise_interpolate_schedule": 'gx.piecewise_interpolate_schedule("cosine", 0.1, {40: 0.3, 80: 0.3})',
    "polynomial_schedule": "gx.polynomial_schedule(0.1, 0.01, 2.0, 100)",
    "sgdr_schedule": (
        "gx.sgdr_schedule([dict(init_value=0.0, peak_value=x, warmup_steps=5, decay_steps=40) for x in (0.1, 0.07)])"
    ),
    "step_decay": "gx.step_decay(0.1, 30, 0.5)",
    "warmup_constant_schedule": "gx.warmup_constant_schedule(0.0, 0.1, 20)",
    "warmup_cosine_decay_schedule": "gx.warmup_cosine_decay_schedule(0.0, 0.1, 20, 100)",
    "warmup_exponential_decay_schedule": "gx.warmup_exponential_decay_schedule(0.0, 0.1, 20, 20, 0.5)",
    "warmup_stable_decay_schedule": "gx.warmup_stable_decay_schedule(0.0, 0.1, 20, 50, 30)",
}
"""How each schedule is made that is drawn, over 120 steps."""
STEPS = 120


@functools.cache
def places() -> dict[str, str]:
    """Full public name -> the module that it is imported from, in the order of `gx.__all__`, then by package."""
    found = {f"gradxform.{name}": gx._HOMES[name] for name in gx.__all__}
    for package in APART:
        module = importlib.import_module(f"gradxform.{package}")
        found |= {f"{module.__name__}.{name}": getattr(module, name).__module__ for name in module.__all__}
    return found


def write(folder: Path) -> None:
    """One page a subpackage, and an index of them."""
    pages: dict[str, dict[str, list[str]]] = {}
    for name, module in places().items():
        page = name.rpartition(".")[0].removeprefix("gradxform").strip(".") or module.split(".")[1]
        pages.setdefault(page, {}).setdefault(module, []).append(name)
    folder.mkdir(exist_ok=True)
    for page in folder.glob("*.rst"):
        if page.stem not in {*pages, "index"}:
            page.unlink()
    for title, modules in pages.items():
        _write(folder / f"{title}.rst", "\n".join(_page(title, modules)))
    for name, code in PICTURES.items():
        if not (picture := folder / f"{name}.svg").exists():
            gx.inspect.plot(eval(code, {"gx": gx}), STEPS, picture)
    entries = "\n".join(f"   {title}" for title in pages)
    _write(folder / "index.rst", f"{_title('Reference', '=')}\n.. toctree::\n\n{entries}\n")


def _page(title: str, modules: dict[str, list[str]]) -> Iterator[str]:
    yield _title(title, "=")
    yield _prose(importlib.import_module(f"gradxform.{title}"))
    for module, names in modules.items():
        if len(modules) > 1:
            yield _title(module.removeprefix("gradxform.").removeprefix(f"{title}."), "-")
            yield _prose(importlib.import_module(module))
        yield from (_entry(module, name) for name in names)


def _entry(module: str, full: str) -> str:
    namespace, _, name = full.rpartition(".")
    x = getattr(importlib.import_module(namespace), name)
    if inspect.isclass(x) or inspect.isroutine(x):
        return f"\n.. auto{'class' if inspect.isclass(x) else 'function'}:: {full}\n" + _picture(name, module)
    lines = list(ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name), []))
    house_style(None, "data", full, None, None, lines)
    return f"\n.. py:data:: {full}\n\n" + textwrap.indent("\n".join(lines), "   ") + "\n"


def _picture(name: str, module: str) -> str:
    """The curve of a schedule, and how it was drawn."""
    if not module.startswith("gradxform.schedules"):
        return ""
    code = f".. code-block:: python\n\n      gx.inspect.plot({PICTURES[name]}, {STEPS})"
    return f"\n   {code}\n\n   .. image:: {name}.svg\n      :alt: {name} over {STEPS} steps\n"


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
        lines += [" ".join(filter(None, [_head(head), _inline(body, name.rpartition(".")[0])])), ""]


def _head(text: str) -> str:
    return f"**{_escaped(text)}**" if text.endswith(":") else text


def _inline(text: str, namespace: str) -> str:
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _escaped(text)
    return "".join(_code(part, namespace) if i % 2 else _escaped(part) for i, part in enumerate(parts))


def _code(text: str, namespace: str) -> str:
    for home in (namespace, "gradxform"):
        if f"{home}.{text}" in places():
            return rf"\ :py:obj:`{text} <{home}.{text}>`\ "
    return rf"\ ``{text}``\ " if text.strip() else "``"


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_|`])", r"\\\1", text)
