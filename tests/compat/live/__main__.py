"""Random configurations here and in the frameworks, live: `python -m tests.compat.live [SYSTEM ...]` (`make live`).

Each of five systems has 200 configurations, the other optimizers of the three frameworks 20 each: 8 steps in both, to
rounding; then the second half again, from the state that the other one saved.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.compat.live import mindspore_draws, paddle_draws, torch_draws
from tests.compat.live.draws import SHAPES, STEPS, Draw, arrays
from tests.compat.live.ours import Ours, allowed, eager, width
from tests.compat.live.peer import Case, read, under, write
from tests.compat.replay import compare

DRAWS: dict[str, Any] = {"torch": torch_draws, "paddle": paddle_draws, "mindspore": mindspore_draws}
PYTHON = {"torch": sys.executable, "paddle": ".venv-paddle/bin/python", "mindspore": ".venv-mindspore/bin/python"}
FIVE = ("torch.SGD", "paddle.Momentum", "mindspore.Momentum", "mindspore.Adam", "mindspore.ProximalAdagrad")
COUNTS = (200, 20)
"""Configurations of each of the five, and of each other optimizer."""


def systems() -> list[str]:
    others = [f"{framework}.{name}" for framework, draws in DRAWS.items() for name in draws.OPTIMIZERS]
    return [*FIVE, *(name for name in others if name not in FIVE)]


def configured(system: str, i: int) -> Case:
    framework, optimizer = system.split(".")
    d = Draw(i, *map(ord, system))
    config = {
        "framework": framework,
        "optimizer": optimizer,
        "case": str(i),
        "n_steps": STEPS,
        "half": d.whole(1, STEPS - 1),
        "leaves": [[leaf, list(shape)] for leaf, shape in SHAPES.items()],
    }
    config |= DRAWS[framework].configuration(d, optimizer)
    config["memory"] = d.one("plain", "unaligned", "read-only")
    return Case(f"{i:03}", config, arrays(d, config))


def peer(framework: str, part: str, given: Path, results: Path) -> None:
    command = [PYTHON[framework], "-m", f"tests.compat.live.peer_{framework}", part, str(given), str(results)]
    log = given.parent / f"{part}.log"
    with log.open("w") as out:
        if subprocess.run(command, stdout=out, stderr=out, check=False).returncode:
            raise SystemExit(f"{' '.join(command)} failed, see {log}")


def here(case: Case) -> str:
    """What differs, or an error; empty if nothing does."""
    if "error" in case.config:
        return f"there {case.config['error']}"
    try:
        with width(case.config), eager(case.config):
            return "; ".join(Ours(case).differences())
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:500]


def there(case: Case) -> str:
    """What differs where they go on from our state, and from their own."""
    if "error" in case.config:
        return f"from our state {case.config['error']}"
    whole = under("after/", case.arrays) | under("resumed/", case.arrays)
    for key, w in under("on/", case.arrays).items():
        if found := compare(w, whole[key], allowed(case.config), 1.0):
            return f"from our state {key} {found}"
    return ""


def verdicts(system: str, count: int, folder: Path) -> Iterator[tuple[Case, str]]:
    """Each configuration and what differs; empty if nothing does."""
    framework = system.split(".")[0]
    shutil.rmtree(folder, ignore_errors=True)
    for i in range(count):
        write(folder / "given", configured(system, i))
    peer(framework, "record", folder / "given", folder / "recorded")
    for case in read(folder / "recorded"):
        if found := here(case):
            yield case, found
        else:
            write(folder / "ours", case)
    peer(framework, "go_on", folder / "ours", folder / "gone_on")
    for case in read(folder / "gone_on"):
        yield case, there(case)


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Compare random configurations with torch, Paddle and MindSpore, live."
    )
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"of {', '.join(systems())}; all by default")
    parser.add_argument(
        "--count", type=int, help=f"configurations of each; {COUNTS[0]} of the first five, else {COUNTS[1]}"
    )
    given = parser.parse_args()
    failed = 0
    for system in given.systems or systems():
        count: Counter[str] = Counter()
        for case, found in verdicts(system, given.count or COUNTS[system not in FIVE], Path("build/live") / system):
            decided = found and case.config["quirk"]
            count["decided otherwise" if decided else "differ" if found else "agree"] += 1
            if found and not decided:
                sys.stdout.write(f"{system} {case.name}: {found}\n")
        failed += count["differ"]
        said = ", ".join(f"{n} {verdict}" for verdict, n in sorted(count.items()))
        sys.stdout.write(f"{system}: {said}\n")
        sys.stdout.flush()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
