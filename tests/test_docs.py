"""Every Python block of the prose runs, page by page, and every public name is documented."""

from __future__ import annotations

import inspect
import linecache
import re
import sys
import types
from pathlib import Path

import jax
import pytest
from example_programs import blocks

import gradxform as gx
from gradxform import compat

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts)])
OPENING = re.compile(r"^ *(`{3,}|~{3,}|:{3,})")
PYTHON = re.compile(r"^ *(```+)python *$")


def test_blocks_are_found_with_their_lines() -> None:
    page = "a\n```python\nx = 1\n```\n\n- b\n  ```python\n  y = 2\n\n  z = 3\n  ```\n```text\nno\n```\n"
    assert list(blocks(page)) == [(2, "x = 1"), (7, "y = 2\n\nz = 3")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType(f"page_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    x64 = jax.config.jax_enable_x64
    try:
        for line, code in blocks(page.read_text()):
            name = f"{page.name}, block at line {line}"
            linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
            exec(compile(code, name, "exec"), module.__dict__)
    finally:
        jax.config.update("jax_enable_x64", x64)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_python_block_escapes(page: Path) -> None:
    """A fence in another spelling would be shown, highlighted, and never run."""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if OPENING.match(line) and not PYTHON.match(line):
            assert not re.search(r"python|pycon|\bpy\b", line), f"{page.name}:{number}: write ```python"


def test_every_public_name_is_documented() -> None:
    made = {name: x for name in gx.__all__ if inspect.isclass(x := getattr(gx, name)) or inspect.isroutine(x)}
    assert len(made) > 50
    assert [name for name, x in made.items() if not x.__doc__] == []


@pytest.mark.parametrize("package", [gx.testing, gx.inspect, *(getattr(compat, name) for name in compat.__all__)])
def test_every_name_of_a_package_of_its_own_is_documented(package: types.ModuleType) -> None:
    assert package.__doc__
    assert [name for name in getattr(package, "__all__", ()) if not getattr(package, name).__doc__] == []
