"""Print how the package is built in figures; `--check` fails if one is above its limit.

`python -m benchmarks.structure [--check] [--lines]`; `--lines` lists the optimizers' code lines, ours beside optax's.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import math
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradxform as gx
from benchmarks import code_lines

ROOT = Path(gx.__file__).parent
TREES = {path: ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
STAGES = {"Lifted", "Split", "Freeze", "Opaque", "Foreign", "Packing", "Sharding", "Member", "Chain", "OrderedSplit"}
ARITHMETIC = {"gradxform.core.numbers", "gradxform.core.arithmetic", "gradxform.core.norms"}
"""Modules of plain numerical primitives."""
METHODS = ("init", "scalars", "update", "factor", "ratio", "remember", "emit")


def rule_members() -> int:
    """Names that `Rule` and its bases define in their bodies: fields, facts, methods and properties."""
    names = set()
    for cls in gx.Rule.__mro__[: gx.Rule.__mro__.index(importlib.import_module("gradxform.core.value").Value)]:
        for node in ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body:  # type: ignore[attr-defined]
            if isinstance(node, ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names |= {ast.unparse(target) for target in targets}
    return len(names)


def asked_stages() -> int:
    """Lines that ask a value whether it is a stage of some kind, with `isinstance` or `match`."""
    found = set()
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            kinds: list[ast.AST] = []
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
                kinds = [node.args[1]]
            elif isinstance(node, ast.MatchClass):
                kinds = [node.cls]
            if any(isinstance(n, ast.Name) and n.id in STAGES for kind in kinds for n in ast.walk(kind)):
                found.add((path, node.lineno))  # type: ignore[attr-defined]
    return len(found)


def public_functions() -> list[Any]:
    """The functions of `gx.__all__` and of the front-ends in `compat`, each once."""
    compat = importlib.import_module("gradxform.compat")
    found = {id(f): f for f in (getattr(gx, name) for name in gx.__all__) if inspect.isfunction(f)}
    for name in compat.__all__:
        module = getattr(compat, name)
        names = getattr(module, "__all__", None) or [
            n for n, x in vars(module).items() if n[0] != "_" and getattr(x, "__module__", "") == module.__name__
        ]
        functions = [getattr(module, n) for n in names]
        found |= {id(f): f for f in functions if inspect.isfunction(f)}
    return list(found.values())


def is_any(annotation: str, names: set[str]) -> bool:
    """Whether an annotation is one of the names that mean Any, or a union with one."""
    parts = re.sub(r"^(?:\w+\.)*(?:Optional|Annotated)\[", "", annotation.strip("'\"")).split("|")
    return any(re.split(r"[,\]]", part)[0].strip().rsplit(".", 1)[-1] in names for part in parts)


def unexplained() -> set[str]:
    """Any, and the names defined as it, bare or annotated, that no docstring right after their definition explains."""
    every, explained, before = {"Any"}, set(), 0
    while len(every) > before:
        before = len(every)
        for tree in TREES.values():
            for node, after in zip(tree.body, [*tree.body[1:], ast.Pass()], strict=False):
                target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
                value = getattr(node, "value", None)
                if isinstance(target, ast.Name) and value is not None and is_any(ast.unparse(value), every):
                    every.add(target.id)
                    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                        explained.add(target.id)
    return every - explained


def share_of_any() -> float:
    """Percent of the arguments of public functions that are annotated with Any, or not at all."""
    nothing, texts = unexplained(), []
    for f in public_functions():
        given = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(f)))).body[0].args  # type: ignore[attr-defined]
        arguments = (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg)
        texts += [ast.unparse(x.annotation) if x.annotation else "Any" for x in arguments if x is not None]
    return 100 * sum(is_any(text, nothing) for text in texts) / len(texts)


def calculates(f: Any) -> bool:
    """Whether a function's own lines have an operator, a minus sign or a call of `jnp` or `jax.lax` in them."""
    nodes = list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(f)))))
    operators = [n.op for n in nodes if isinstance(n, ast.BinOp | ast.UnaryOp)]
    calls = [ast.unparse(n.func) for n in nodes if isinstance(n, ast.Call)]
    return any(not isinstance(op, ast.BitOr | ast.Not) for op in operators) or any(
        name.startswith(("jnp.", "jax.lax.")) for name in calls
    )


def called(f: Any) -> Iterator[Any]:
    """What a function names of this package."""
    module = sys.modules[f.__module__]
    for _, x in code_lines.used(ast.parse(textwrap.dedent(inspect.getsource(f))), module):
        if str(getattr(x, "__module__", "")).startswith("gradxform."):
            yield x


def rules_made(f: Any, seen: set[Any]) -> Iterator[type]:
    """The rules that a public function makes, itself or through other public functions."""
    for x in called(f):
        if inspect.isclass(x) and issubclass(x, gx.Rule):
            yield x
        elif inspect.isfunction(x) and x.__name__ in gx.__all__ and x not in seen:
            seen.add(x)
            if x.__name__ not in ("chain", "lift", "named_chain"):
                yield from rules_made(x, seen)


def files_of_adam() -> set[str]:
    """The files to open from `gx.adam` to its last arithmetic.

    The public function's; those of the methods that its rules have (the learning rate's too) where these calculate,
    but not what `core` defines for every rule and which calls them; those of functions that such methods call where
    these calculate, and so on, but not the primitives of `core`'s arithmetic.
    """
    files, todo = {inspect.getsourcefile(inspect.unwrap(gx.adam)) or ""}, []
    for rule in rules_made(gx.adam, set()):
        methods = [getattr(rule, name, None) for name in METHODS]
        todo += [f for f in methods if inspect.isfunction(f) and not f.__module__.startswith("gradxform.core.")]
    done = set()
    while todo:
        f = todo.pop()
        if f in done or f.__module__ in ARITHMETIC or not calculates(f):
            continue
        done.add(f)
        files.add(inspect.getsourcefile(f) or "")
        todo += [x for x in called(f) if inspect.isfunction(x)]
    return files


def code_ratios() -> dict[str, tuple[int, int]]:
    """Our code lines and optax's of every optimizer that both have."""
    peers = {name: code_lines.peer(name) for name in code_lines.OPTIMIZERS}
    return {name: (code_lines.lines_of(gx, name), code_lines.lines_of(peer, name)) for name, peer in peers.items()}


def geometric_mean(ratios: dict[str, tuple[int, int]]) -> float:
    return math.exp(sum(math.log(ours / theirs) for ours, theirs in ratios.values()) / len(ratios))


def places() -> int:
    """The numbered list under "Adding an optimizer" in CONTRIBUTING.md."""
    text = (ROOT.parent / "CONTRIBUTING.md").read_text()
    section = re.search(r"^## Adding an optimizer.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return len(re.findall(r"^\d+\. ", section[0], re.MULTILINE)) if section else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="how the package is built, in figures")
    parser.add_argument("--check", action="store_true", help="fail if a figure is above its limit")
    parser.add_argument("--lines", action="store_true", help="list the optimizers' code lines")
    given = parser.parse_args()
    ratios, files = code_ratios(), files_of_adam()
    if given.lines:
        for name, (ours, theirs) in ratios.items():
            print(f"{name:28} {ours:4} {theirs:4}  {ours / theirs:.2f}")
    ignored = sum(path.read_text().count("# type: ignore") for path in TREES)
    figures = [
        ("members of Rule", rule_members(), 20),
        ("lines that ask for a kind of stage", asked_stages(), 25),
        ("arguments annotated Any or not at all, %", share_of_any(), 15),
        ("files from gx.adam to its last arithmetic", len(files), 2),
        ("code lines of an optimizer over optax's", geometric_mean(ratios), 0.6),
        ("places to touch for a new optimizer", places(), 4),
        ("# type: ignore", ignored, 15),
    ]
    for name, figure, limit in figures:
        shown = f"{figure:.2f}" if isinstance(figure, float) else str(figure)
        print(f"{name:44} {shown:>6}  limit {limit:<4} {'above' if figure > limit else ''}".rstrip())
    return int(given.check and any(figure > limit for _, figure, limit in figures))


if __name__ == "__main__":
    sys.exit(main())
