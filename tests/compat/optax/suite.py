"""optax's own tests, as its wheel ships them, with our optax in place of it: `python -m tests.compat.optax.suite`.

Every module of optax that a test file imports is the one with our stages in place. The same files run with optax
itself; what fails there does not count.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import optax

HOME = Path(optax.__file__).parent
IMPORT = re.compile(r"^(?:from (optax[\w.]*) import (\w+)|import (optax[\w.]*))(?: as (\w+))?$", re.MULTILINE)
LENT = "__import__('gradxform.compat.optax.recipes', fromlist=['lent_module']).lent_module"


def files() -> list[Path]:
    return sorted(HOME.rglob("*_test.py"))


def ours(source: str) -> str:
    """The source with our optax in place of every module that it imports from optax."""

    def lent(found: re.Match[str]) -> str:
        package, name, whole, alias = found.groups()
        if whole and not alias:
            return f"optax = {LENT}('optax')"
        if (name or "").endswith(("_test", "test_utils")):
            return found[0]
        module = whole or f"{package}.{name}"
        return f"{alias or name} = {LENT}({module!r})"

    return IMPORT.sub(lent, source)


def write(folder: Path, changed: bool, only: str = "") -> None:
    for path in files():
        if re.search(only, path.stem):
            source = path.read_text()
            (folder / path.name).write_text(ours(source) if changed else source)


def run(folder: Path, workers: str = "2") -> dict[str, str]:
    """Each test of a folder with its outcome: passed, failed or skipped."""
    report = folder / "report.xml"
    options = ["-q", "-n", workers, "-p", "no:cacheprovider", f"--junitxml={report}", "-c", os.devnull]
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "pytest", *options, str(folder)]
    subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return {f"{x.get('classname', '').split('.')[-2:]}::{x.get('name')}": outcome(x) for x in cases(report)}


def cases(report: Path) -> list[ElementTree.Element]:
    return list(ElementTree.parse(report).iter("testcase"))


def outcome(case: ElementTree.Element) -> str:
    kinds = {child.tag for child in case}
    return "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the files are written and run")
    parser.add_argument("--only", default="", help="files whose name matches")
    parser.add_argument("--workers", default="2")
    given = parser.parse_args()
    results = {}
    for name, changed in (("optax", False), ("ours", True)):
        folder = given.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, changed, given.only)
        results[name] = run(folder, given.workers)
    theirs = [test for test, result in results["optax"].items() if result == "passed"]
    failed = [test for test in theirs if results["ours"].get(test) != "passed"]
    sys.stdout.write("".join(f"{test}\n" for test in failed))
    sys.stdout.write(f"{len(theirs) - len(failed)} of {len(theirs)} that optax passes\n")


if __name__ == "__main__":
    main()
