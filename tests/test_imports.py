"""The layers hold: imports point down, files and functions stay small, names say what they hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gradxform"
FILES = sorted(PACKAGE.rglob("*.py"))

MAY_IMPORT = {
    "core": {"core"},
    "params": {"core", "params"},
    "schedules": {"core", "schedules"},
    "transforms": {"core", "params", "schedules", "transforms"},
    "optimizers": {"core", "params", "schedules", "transforms", "optimizers"},
    "control": {"core", "control"},
    "strategies": {"core", "params", "strategies"},
    "contrib": {"core"},
}
BELOW_INSPECT = {*MAY_IMPORT, "inspect"}
MAY_IMPORT["inspect"] = BELOW_INSPECT
MAY_IMPORT["testing"] = {*BELOW_INSPECT, "testing"}
MAY_IMPORT["compat"] = {*BELOW_INSPECT, "compat"}

RUN_TIME = {"jax", "jaxlib", "numpy", *sys.stdlib_module_names}
"""What may be imported with the package; anything else waits until a function of `OPTIONAL` is called."""
OPTIONAL = {"compat", "inspect"}
OVER_OPTAX = PACKAGE / "compat" / "optax"
"""What is optax with our rules in it needs optax, and nothing else imports it."""
LONGEST_FILE, LONGEST_FUNCTION = 320, 70
SAYS_NOTHING = {"utils", "util", "misc", "helpers", "helper", "common", "_src"}
SHARED = PACKAGE / "compat" / "common"
"""What two frameworks share: the one place that may be called so."""


def layer(path: Path) -> str:
    """The subpackage of a file, or "" for what stands above them all."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts in (("__init__",), ("__main__",)) else parts[0]


def imported(tree: ast.AST, path: Path = PACKAGE / "__init__.py") -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a file imports; for `from a import b`, both `a` and `a.b`."""
    package = path.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_imports_are_read_in_every_form() -> None:
    source = "import jax.numpy as jnp\nfrom gradxform.core import lift\nfrom . import b\nfrom ..params.select import c"
    found = {name for _, name in imported(ast.parse(source), PACKAGE / "transforms" / "clip.py")}
    assert found == {
        "jax.numpy",
        "gradxform.core",
        "gradxform.core.lift",
        "gradxform.transforms",
        "gradxform.transforms.b",
        "gradxform.params.select",
        "gradxform.params.select.c",
    }


def imports_point_down(path: Path) -> None:
    here = layer(path)
    if not here:
        return
    assert here in MAY_IMPORT, f"{names(path)}: say in this test what {here} may import"
    for line, name in imported(ast.parse(path.read_text()), path):
        parts = name.split(".")
        if parts[0] != "gradxform":
            continue
        assert len(parts) > 1, f"{names(path)}:{line} imports the whole package, which imports this file"
        if parts[1] in MAY_IMPORT or len(parts) == 2:
            assert parts[1] in MAY_IMPORT[here], f"{names(path)}:{line}: {here} must not import {name}"


def no_framework_knows_another(path: Path) -> None:
    if layer(path) != "compat" or path.parent == SHARED.parent:
        return
    here, *_ = path.relative_to(SHARED.parent).parts
    for line, name in imported(ast.parse(path.read_text()), path):
        parts = name.split(".")
        if parts[:2] == ["gradxform", "compat"] and len(parts) > 2:
            assert parts[2] in {here, SHARED.name}, f"{names(path)}:{line}: compat.{here} must not import {name}"


def run_time_needs_jax_alone(path: Path) -> None:
    tree = ast.parse(path.read_text())
    inside = {n for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)}
    inside |= {n for i in ast.walk(tree) if isinstance(i, ast.If) and is_type_checking(i) for n in ast.walk(i)}
    waits = {n.lineno for n in inside if isinstance(n, ast.Import | ast.ImportFrom)}
    for line, name in imported(tree, path):
        assert not name.startswith("jax._src"), f"{names(path)}:{line}: {name} is JAX's own business"
        if name.split(".")[0] not in {*RUN_TIME, "gradxform"}:
            allowed = layer(path) in OPTIONAL and (line in waits or path.is_relative_to(OVER_OPTAX))
            assert allowed, f"{names(path)}:{line}: {name} is not there at run time"


def is_type_checking(node: ast.If) -> bool:
    return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def test_imports_where_nothing_else_is_installed() -> None:
    others = [
        "chex",
        "equinox",
        "etils",
        "flax",
        "hypothesis",
        "matplotlib",
        "optax",
        "orbax",
        "pytest",
        "rich",
        "torch",
    ]
    code = f"import sys; sys.modules.update(dict.fromkeys({others!r})); import gradxform as gx; print(gx.adam(0.5))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "adam" in run.stdout


def files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{names(path)}:{node.lineno} {node.name} has {length} lines"


def names_say_what_they_hold(path: Path) -> None:
    home = SHARED if path.is_relative_to(SHARED) else PACKAGE
    assert not SAYS_NOTHING & set(path.relative_to(home).with_suffix("").parts)
    assert not re.search(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b", path.read_text())


def defines(path: Path) -> bool:
    """Whether a module has functions or classes of its own; what is asked for by `__getattr__` alone does not count."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return any(isinstance(n, kinds) and not n.name.startswith("__") for n in ast.parse(path.read_text()).body)


def every_module_has_its_tests_at_its_place(path: Path) -> None:
    """`gradxform/core/walk.py` in `tests/core/test_walk.py`; a package's own code in a file of the package's name."""
    if not defines(path):
        return
    module = path.parent.name if path.stem == "__init__" else path.stem
    place = ROOT / "tests" / path.relative_to(PACKAGE).parent / f"test_{module.strip('_')}.py"
    assert place.exists(), f"{names(path)} has functions or classes of its own, and no {names(place)}"


RULES = [
    imports_point_down,
    no_framework_knows_another,
    run_time_needs_jax_alone,
    files_and_functions_stay_small,
    names_say_what_they_hold,
    every_module_has_its_tests_at_its_place,
]


@pytest.mark.parametrize("path", FILES, ids=names)
def test_every_file_keeps_the_rules(path: Path) -> None:
    for rule in RULES:
        rule(path)


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()
