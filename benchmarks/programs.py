"""Tell which compiled programs a change touches, without compiling any.

`python -m benchmarks.programs write FILE` lowers `init` and `update` of every entry of the tests' catalogue, on two
trees, and of `benchmarks/compositions.py`, and writes a hash of each program's canonical text with its number of
lines. `compare FILE` lowers again and lists what has changed, is new or is gone; it fails if anything has changed.
`--only SUBSTRING` restricts both to some programs, `--show NAME` prints the canonical text of one.

The text is StableHLO for CPU and TPU in one, without names of functions and of results: what Python calls them is no
part of the program. A program that cannot be lowered stands there with its error.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp

from benchmarks.compositions import BY_HAND, COMPOSITIONS, of_composition
from tests.catalogue import ENTRIES, Entry, tree

Trace = Callable[[], Any]
TREES = {"float32": jnp.float32, "mixed": (jnp.float32, jnp.bfloat16, jnp.float16)}
SYMBOL = r'@(?:"[^"]*"|[\w.$-]+)'
DEFINED = re.compile(rf"(?:func\.func (?:public |private )?|sdy\.mesh )({SYMBOL})")


def canonical(text: str) -> str:
    """The program without the module's name and the results' names, its functions numbered in order of first use."""
    text = re.sub(rf"^module {SYMBOL}", "module", text, flags=re.MULTILINE)
    text = re.sub(r' \{jax\.result_info = "[^"]*"\}', "", text)
    text = re.sub(r'jax\.result_info = "[^"]*", |, jax\.result_info = "[^"]*"', "", text)
    own, numbers = set(DEFINED.findall(text)), {}

    def numbered(found: re.Match[str]) -> str:
        name = found[0]
        return f"@f{numbers.setdefault(name, len(numbers))}" if name in own else name

    return re.sub(SYMBOL, numbered, text)


def text_of(trace: Trace) -> str:
    """Both platforms in one program; CPU alone where a part has no lowering for the other."""
    try:
        traced = trace()
        try:
            return canonical(traced.lower(lowering_platforms=("cpu", "tpu")).as_text())
        except NotImplementedError:
            return canonical(traced.lower().as_text())
    except (KeyError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def of_entry(entry: Entry, dtypes: Any) -> Iterator[tuple[str, Trace]]:
    params = jax.eval_shape(lambda: tree(0, dtypes))
    yield "init", lambda: jax.jit(entry.tx.init).trace(params)
    yield "update", lambda: jax.jit(entry.update).trace(params, jax.eval_shape(entry.tx.init, params), params)


def programs() -> Iterator[tuple[str, Trace]]:
    """Every program by its name."""
    for entry in ENTRIES:
        for kind, dtypes in TREES.items():
            yield from ((f"{entry.name} [{kind}] {what}", trace) for what, trace in of_entry(entry, dtypes))
    for name, composition in COMPOSITIONS.items():
        yield from ((f"+ {name}: {what}", trace) for what, trace in of_composition(composition))
    yield from ((f"+ {name}", trace) for name, trace in BY_HAND.items())


def texts(only: str) -> Iterator[tuple[str, str]]:
    """The canonical text of every program whose name has a part in it."""
    chosen = [(name, trace) for name, trace in programs() if only in name]
    for i, (name, trace) in enumerate(chosen, 1):
        if i % 50 == 0 or i == len(chosen):
            print(f"{i}/{len(chosen)}", file=sys.stderr)
        yield name, text_of(trace)


def measured(only: str) -> dict[str, list[Any]]:
    """Name -> hash and lines."""
    return {name: [hashlib.sha256(text.encode()).hexdigest()[:16], text.count("\n") + 1] for name, text in texts(only)}


def write(path: Path, only: str) -> int:
    old = json.loads(path.read_text())["programs"] if only and path.exists() else {}
    rows = [f"  {json.dumps(name)}: {json.dumps(figures)}" for name, figures in (old | measured(only)).items()]
    path.write_text(f'{{"jax": "{jax.__version__}",\n "programs": {{\n' + ",\n".join(rows) + "\n}}\n")
    print(f"{len(rows)} programs in {path}")
    return 0


def compare(path: Path, only: str) -> int:
    held = json.loads(path.read_text())
    if held["jax"] != jax.__version__:
        print(f"written with jax {held['jax']}, this is {jax.__version__}: programs differ for that alone")
    old = {name: figures for name, figures in held["programs"].items() if only in name}
    new = measured(only)
    changed = [name for name in old if name in new and old[name][0] != new[name][0]]
    for name in changed:
        print(f"changed  {name}: {old[name][1]} -> {new[name][1]} lines")
    for word, here, there in (("new", new, old), ("gone", old, new)):
        for name in here:
            if name not in there:
                print(f"{word:8} {name}")
    before, after = (sum(t[name][1] for name in old if name in new) for t in (old, new))
    print(f"{len(changed)} of {len(old)} programs changed; {before} -> {after} lines")
    return int(bool(changed))


def main() -> int:
    parser = argparse.ArgumentParser(description="which compiled programs a change touches")
    parser.add_argument("do", nargs="?", choices=["write", "compare"])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--only", default="", help="programs whose name has this part")
    parser.add_argument("--show", help="print the canonical text of the program of this name")
    given = parser.parse_args()
    if given.show:
        found = dict(texts(given.show))
        print(found.get(given.show) or "no such program; there are:\n" + "\n".join(found))
        return 0
    if given.do is None or given.file is None:
        parser.error("write FILE, compare FILE or --show NAME")
    start = time.perf_counter()
    status = (write if given.do == "write" else compare)(given.file, given.only)
    print(f"{time.perf_counter() - start:.0f} s")
    return status


if __name__ == "__main__":
    sys.exit(main())
