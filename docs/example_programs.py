"""A program of its own for each public name, out of what the tests run: the pages' blocks and the catalogue.

`python docs/example_programs.py` runs all of them and says which fail; with names, it prints those.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import re
import symtable
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from written_examples import RATES, STEPS, WRITTEN

import gradxform as gx
from gradxform import compat

ROOT = Path(__file__).parents[1]
PROSE = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
HEAD = "import jax\nimport jax.numpy as jnp\nimport gradxform as gx\n"
PARAMS = 'params = {"dense": {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)}, "scale": jnp.ones(())}\n'
GRADS = "grads = jax.tree.map(lambda p: 0.1 * jnp.ones_like(p), params)\n"
LOSS = """x = jnp.ones((8, 4))

def loss(params, x):
    dense = params["dense"]
    return jnp.mean((params["scale"] * (x @ dense["kernel"] + dense["bias"]) - 1) ** 2)

"""
UPDATE = "updates, state = tx.update(grads, tx.init(params), params{extra})\nparams = gx.apply_updates(params, updates)"
STEP = (
    "state, step = tx.init(params), gx.make_train_step(loss, tx)\n"
    "for _ in range(10):\n    params, state, _ = step(params, state, x)"
)
FORMS = {
    "Searched": (LOSS, STEP),
    "Curved": (
        LOSS + "grads = jax.grad(loss)(params, x)\nhessian = gx.hutchinson(lambda p: loss(p, x), params, 0)\n",
        UPDATE.format(extra=", hessian=hessian"),
    ),
    "AsExamples": (
        LOSS + "grads = jax.vmap(jax.grad(loss), (None, 0))(params, x[:, None])    # one for each example\n",
        UPDATE.format(extra=""),
    ),
    "Curved qk_clip": (
        GRADS + 'logits = {"dense": {"kernel": jnp.array([3.0, 0.1, 7.0, 0.2]), "bias": None}, "scale": None}\n',
        UPDATE.format(extra=", max_logits=logits"),
    ),
    "": (GRADS, UPDATE.format(extra="")),
}
"""How the catalogue feeds a transformation: what stands before it is made, and what is done with it."""

APART = ["inspect", "testing", *(f"compat.{home}" for name, home in compat._HOMES.items() if name != "optax")]
"""What has names of its own; `compat.optax` has optax's."""


@functools.cache
def places() -> dict[str, str]:
    """Full public name -> the module that it is imported from, in the order of `gx.__all__`, then by package."""
    found = {f"gradxform.{name}": gx._HOMES[name] for name in gx.__all__}
    for package in APART:
        module = importlib.import_module(f"gradxform.{package}")
        found |= {f"{module.__name__}.{name}": getattr(module, name).__module__ for name in module.__all__}
    return found


class Statement(NamedTuple):
    """One statement of a page, with what it reads and what it binds."""

    block: int
    """The line that its block begins at."""
    source: str
    reads: frozenset[str]
    binds: frozenset[str]
    inside: frozenset[str]
    """Those that a loop, a `with` or a `try` binds for its own lines."""
    touches: frozenset[str]
    """Names whose values it changes in place."""
    mentions: frozenset[str]
    """Public names, in full."""


def blocks(text: str) -> Iterator[tuple[int, str]]:
    """Line number and code of every fenced block that is marked as Python."""
    for fence in re.finditer(r"^ *(```+)python *\n(.*?)^ *\1 *$", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, fence.start()) + 1, textwrap.dedent(fence[2]).rstrip("\n")


def statements(path: Path) -> Iterator[Statement]:
    homes: dict[str, str] = {}
    for block, code in blocks(path.read_text()):
        lines = code.splitlines()
        for node in ast.parse(code).body:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            source = "\n".join(lines[first - 1 : node.end_lineno])
            homes |= imports(node)
            binds, reads = names_of(source)
            inside = binds if isinstance(node, ast.For | ast.With | ast.Try) else frozenset[str]()
            yield Statement(block, source, reads, binds, inside, touched(node), mentioned(node, homes))


def imports(node: ast.stmt) -> dict[str, str]:
    if isinstance(node, ast.Import):
        return {alias.asname or alias.name: alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return {}


def names_of(source: str) -> tuple[frozenset[str], frozenset[str]]:
    """What a statement binds for those behind it, and which names it wants from those before it."""
    binds, reads = set(), set()

    def visit(table: symtable.SymbolTable, top: bool) -> None:
        for symbol in table.get_symbols():
            if top and (symbol.is_assigned() or symbol.is_imported()):
                binds.add(symbol.get_name())
            if symbol.is_referenced() and (top or symbol.is_global()):
                reads.add(symbol.get_name())
        for child in table.get_children():
            visit(child, False)

    visit(symtable.symtable(source, "page", "exec"), True)
    tree = ast.parse(source)
    added = [n.target for n in tree.body if isinstance(n, ast.AugAssign)]
    reads |= {target.id for target in added if isinstance(target, ast.Name)}
    own = binds & of_comprehensions(tree)
    return frozenset(binds - own), frozenset(reads - own - set(dir(builtins)))


def of_comprehensions(tree: ast.Module) -> set[str]:
    """Names that nothing but a comprehension binds; from Python 3.12 on they stand in the table around it."""
    targets = [n.target for n in ast.walk(tree) if isinstance(n, ast.comprehension)]
    theirs = [n for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
    stored = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return {n.id for n in theirs} - {n.id for n in stored if n not in theirs}


def touched(node: ast.stmt) -> frozenset[str]:
    found = set()
    for n in ast.walk(node):
        if isinstance(n, ast.Subscript | ast.Attribute) and isinstance(n.ctx, ast.Store | ast.Del):
            found |= {x.id for x in ast.walk(n.value) if isinstance(x, ast.Name)}
    return frozenset(found)


def mentioned(node: ast.stmt, homes: dict[str, str]) -> frozenset[str]:
    found = set()
    for n in ast.walk(node):
        dotted = dotted_name(n)
        head, _, rest = dotted.partition(".")
        if head in homes:
            full = f"{homes[head]}.{rest}".rstrip(".")
            found.add(re.sub(r"^(gradxform\.compat\.\w+?)_schedules\b", r"\1.schedules", full))
    return frozenset(found)


def dotted_name(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{inner}.{node.attr}" if (inner := dotted_name(node.value)) else ""
    return ""


@functools.cache
def read() -> dict[str, list[Statement]]:
    return {path.stem: list(statements(path)) for path in PROSE}


def program(page: list[Statement], targets: list[int]) -> list[int] | None:
    """The statements without which the targets would not run, in order; None where a name stays open."""
    kept, wanted = set(targets), set()
    for i in range(max(targets), -1, -1):
        one = page[i]
        if i in kept or (one.binds | one.touches) & wanted:
            kept.add(i)
            wanted = (wanted - one.binds) | one.reads
    return None if wanted - {name for i in kept for name in page[i].inside} else sorted(kept)


def candidates(full: str) -> Iterator[tuple[int, str]]:
    """Length and code of each program of the prose in which a name occurs; what only asserts counts as long."""
    for page in read().values():
        for i, one in enumerate(page):
            if full not in one.mentions or one.source.startswith(("import", "from")):
                continue
            behind = [j for j in (i + 1, i + 2) if j < len(page) and page[j].block == one.block]
            uses = [j for j in behind if page[j].reads & one.binds and len(page[j].source.splitlines()) < 5]
            if kept := program(page, [i, *uses]):
                code = joined([page[j].source for j in kept])
                yield len(code.splitlines()) + 20 * one.source.startswith(("assert", "try")), code


def joined(sources: list[str]) -> str:
    """Imports first, each once; a definition has air around it."""
    lines = [line for source in sources for line in source.splitlines() if re.match(r"import |from ", source)]
    heads = sorted(dict.fromkeys(lines), key=lambda line: (line.startswith("from"), "gradxform" in line, line))
    code = "\n".join(heads) + "\n\n"
    for source in sources:
        if not re.match(r"import |from ", source):
            defines = re.match(r"@|def |class ", source)
            code += ("\n" if defines and not code.endswith("\n\n") else "") + source + ("\n\n" if defines else "\n")
    return code.strip("\n")


@functools.cache
def catalogue() -> dict[str, ast.expr]:
    """Function -> the expression of its first entry."""
    tree = ast.parse((ROOT / "tests/catalogue.py").read_text())
    (found,) = (n.value for n in tree.body if isinstance(n, ast.AnnAssign) and ast.unparse(n.target) == "CATALOGUE")
    entries: dict[str, ast.expr] = {}
    for key, value in zip(found.keys, found.values, strict=True):
        made = value.body if isinstance(value, ast.Lambda) else ast.Call(value, [], [])
        entries.setdefault(ast.literal_eval(key).split()[0], made)
    return entries


def of_catalogue(name: str) -> str:
    made, form = catalogue()[name], ""
    if isinstance(made, ast.Call) and (form := ast.unparse(made.func)) in FORMS:
        (made,) = made.args
    else:
        form = ""
    code = ast.unparse(made).replace("'", '"')
    before, after = FORMS.get(f"{form} {name}", FORMS[form])
    given = "".join(line + "\n" for word, line in GIVEN.items() if re.search(rf"\b{word}\b", code))
    return f"{HEAD}\n{PARAMS}{before}{given}tx = {code}\n{after}"


GIVEN = {
    "cosine": "cosine = gx.cosine_decay_schedule(0.1, 100)",
    "kernel(?![\"|'])": 'kernel = gx.named("kernel")',
    "bias(?![\"|'])": 'bias = gx.named("bias")',
    "matrices(?=[,)])": "matrices = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)",
}
"""What expressions of the catalogue take from around it."""


def example(full: str, module: str) -> str | None:
    """The program for a public name; None for a type that no page makes."""
    name = full.removeprefix("gradxform.")
    if name in WRITTEN:
        return textwrap.dedent(WRITTEN[name]).strip()
    if name in RATES:
        return of_rate(RATES[name])
    if name in catalogue() and module.startswith(("gradxform.optimizers", "gradxform.transforms")):
        return of_catalogue(name)
    if found := sorted(candidates(full)):
        return found[0][1]
    return of_catalogue(name) if name in catalogue() else of_framework(full)


def of_rate(made: str) -> str:
    home, *_ = made.split(".")
    imported = "" if home == "gx" else f"from gradxform.compat import {home}\n"
    return (
        f"import gradxform as gx\n{imported}\nschedule = {made}\ntx = gx.sgd(schedule)\n"
        f"gx.inspect.plot(schedule, {STEPS})"
    )


def of_framework(full: str) -> str | None:
    """An optimizer of `compat`, with its rate alone."""
    package, _, name = full.rpartition(".")
    f, framework = getattr(importlib.import_module(package), name), package.rpartition(".")[2]
    arguments = inspect.signature(f).parameters if inspect.isfunction(f) else {}
    rate = next((a for a in ("lr", "learning_rate") if a in arguments), None)
    imported = f"{HEAD}from gradxform.compat import {framework}\n"
    return f"{imported}\n{PARAMS}{GRADS}tx = {framework}.{name}({rate}=0.1)\n{FORMS[''][1]}" if rate else None


def used_in(full: str) -> list[str]:
    """The pages whose programs have a public name."""
    return [name for name, page in read().items() if any(full in one.mentions for one in page)]


def run(code: str, name: str) -> None:
    module = types.ModuleType("example")
    sys.modules["example"] = module
    exec(compile(code, name, "exec"), module.__dict__)


def main(names: list[str]) -> None:
    for full, module in places().items():
        if names and full.removeprefix("gradxform.") not in names:
            continue
        code = example(full, module)
        if names or not code:
            print(code or f"none for {full}")
            continue
        try:
            run(code, full)
        except Exception as error:
            print(f"{full}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
