"""Count the code of an optimizer, ours and optax's, by one rule.

An optimizer is its public function and what that needs of its own: other optimizers, the `scale_by_` functions and
the stages of `STAGES` that it calls, their rules and states, and functions and classes of the same file that these
use. Stages of their own subject (decay, learning rate, line searches) and what all share (`chain`, `core`, optax's
`tree_utils` and `base`) count for neither. Blank lines, comments and docstrings are no code.
"""

from __future__ import annotations

import ast
import functools
import inspect
import io
import sys
import textwrap
import tokenize
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import optax.contrib

import gradxform as gx

WRAPPERS = {"lookahead", "schedule_free"}
DEPRECATED = {"dpsgd"}


def peer(name: str) -> Any:
    """Where optax has a name, else None."""
    return next((library for library in (optax, optax.contrib) if name in dir(library)), None)


OPTIMIZERS = [
    name
    for name in (*gx.__all__, "reduce_on_plateau")
    if gx._HOMES[name].startswith("gradxform.optimizers.") or name == "reduce_on_plateau"
    if peer(name) and not name.startswith("scale_by_") and name not in WRAPPERS | DEPRECATED
]
"""Those that both libraries have, but for wrappers of any optimizer and what optax deprecates."""
STAGES = {"trace", "orthogonalize", "schedule_free", "average_schedule_free"}
SHARED = {"learning_rate", "schedule", "zoom_linesearch", "backtracking_linesearch"}
NOT_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
EVERYONES = ("gradxform.core.", "optax._src.base")


def is_own(name: str) -> bool:
    """Whether a name stands for a part of an optimizer wherever it is defined."""
    part = name.removeprefix("scale_by_")
    return name in OPTIMIZERS or name in STAGES or (part != name and part not in SHARED)


def parsed(x: Any) -> tuple[ast.AST, str, int, str]:
    """A function's or class's tree and source, its first line and file."""
    lines, first = inspect.getsourcelines(x)
    source = textwrap.dedent("".join(lines))
    return ast.parse(source), source, first, inspect.getsourcefile(x) or ""


def partial_lines(name: str, module: ModuleType) -> tuple[ast.AST, str, int, str]:
    """The same of `name = functools.partial(...)`."""
    source = inspect.getsource(module)
    found = [n for n in ast.parse(source).body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == name][-1]
    text = "\n".join(source.splitlines()[found.lineno - 1 : found.end_lineno])
    return ast.parse(text), text, found.lineno, inspect.getsourcefile(module) or ""


def code_lines(tree: ast.AST, source: str) -> set[int]:
    """Numbers of the lines with code on them, from 1."""
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
    prose = {i for n in texts if isinstance(n.value.value, str) for i in range(n.lineno, (n.end_lineno or 0) + 1)}
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type not in NOT_CODE]
    return {i for t in tokens for i in range(t.start[0], t.end[0] + 1)} - prose


def used(tree: ast.AST, module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Functions and classes that a piece of source names, directly or as `module.name`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and hasattr(module, node.id):
            yield node.id, getattr(module, node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            other = getattr(module, node.value.id, None)
            if isinstance(other, ModuleType) and hasattr(other, node.attr):
                yield node.attr, getattr(other, node.attr)


def home(x: Any) -> str:
    return str(getattr(x.func if isinstance(x, functools.partial) else x, "__module__", "") or "")


def parts(name: str, x: Any, module: ModuleType, seen: dict[str, set[tuple[str, int]]]) -> None:
    """Collect the code lines of one part and of those that it needs."""
    x = inspect.unwrap(x) if callable(x) else x
    key = f"{module.__name__}.{name}"
    if key in seen:
        return
    tree, source, first, file = partial_lines(name, module) if isinstance(x, functools.partial) else parsed(x)
    seen[key] = {(file, first + i) for i in code_lines(tree, source)}
    for other, value in used(tree, module):
        there = home(value)
        if not (inspect.isfunction(value) or inspect.isclass(value) or isinstance(value, functools.partial)):
            continue
        if there.split(".")[0] != module.__name__.split(".")[0] or there.startswith(EVERYONES):
            continue
        same_file = there == module.__name__ and not is_other_stage(other, value)
        if is_own(other) or same_file or is_memory(value) or is_own_rule(value):
            parts(other, value, sys.modules[there], seen)


def is_other_stage(name: str, value: Any) -> bool:
    """A transformation's public function that only shares the file."""
    made = str(getattr(value, "__annotations__", {}).get("return", ""))
    makes_one = inspect.isfunction(value) and ("GradientTransformation" in made or "Chain" in made)
    return makes_one and not name.startswith("_") and not is_own(name)


def is_memory(x: Any) -> bool:
    return inspect.isclass(x) and issubclass(x, tuple) and hasattr(x, "_fields")


def is_own_rule(x: Any) -> bool:
    return inspect.isclass(x) and hasattr(x, "public_name") and is_own(x.public_name())


def parts_of(package: ModuleType, name: str) -> dict[str, set[tuple[str, int]]]:
    """The code lines of each part of an optimizer, by the part's name."""
    x: Any = getattr(package, name)
    seen: dict[str, set[tuple[str, int]]] = {}
    parts(name, x, sys.modules[home(x)], seen)
    return seen


def lines_of(package: ModuleType, name: str) -> int:
    return len(set().union(*parts_of(package, name).values()))
