"""Measure gradxform beside optax and torch, and print ratios.

`python -m benchmarks.run` (or `make bench`) writes a table and a picture into `benchmarks/output/`; `--json FILE` also
writes the raw figures, and `--compare A B` prints the ratios of two such files. Each library lives in a process of its
own, and they are measured in turn, round by round, so that a slow moment of the machine meets all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import optimizers

OUTPUT = Path(__file__).parent / "output"
PEERS = {
    "gpt2-small": ["optax", "torch-fused", "torch-foreach"],
    "lora-1000": ["gradxform-packed", "optax", "torch-foreach"],
}
HEADLINES = [("gpt2-small", "clip+adamw"), ("resnet50", "clip+adamw"), ("lora-1000", "clip+adamw")]
HEADLINES += [("embedding", "adamw")]

ROUND = 0.2
"""Seconds that a round of one library takes where steps are short."""


class Process:
    """A library in a process of its own."""

    def __init__(self, name: str) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", name]
        self.pipe = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, *call: Any) -> Any:
        assert self.pipe.stdin is not None
        assert self.pipe.stdout is not None
        self.pipe.stdin.write(json.dumps(call) + "\n")
        self.pipe.stdin.flush()
        line = self.pipe.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker stopped during {call}")
        return json.loads(line)

    def close(self) -> None:
        assert self.pipe.stdin is not None
        self.pipe.stdin.close()
        self.pipe.wait()


def measure(tree: str, optimizer: str, libraries: list[str], rounds: int, builds: int) -> dict[str, dict[str, Any]]:
    """All figures of one optimizer on one tree, the libraries in turn."""
    workers = {name: Process(name) for name in libraries}
    found: dict[str, dict[str, Any]] = {name: {"step": [], "trace": [], "compile": []} for name in libraries}
    try:
        for name, worker in workers.items():
            found[name].update(worker("load", tree, optimizer))
            worker("build")
        for _ in range(builds):
            for name, worker in workers.items():
                built = worker("build")
                for key in ("trace", "compile"):
                    if key in built:
                        found[name][key].append(built[key])
                found[name]["temp_bytes"] = built.get("temp_bytes")
        slowest = max(statistics.median(worker("step", 3)["step"]) for worker in workers.values())
        repeat = max(2, int(ROUND / slowest))
        for _ in range(rounds):
            for name, worker in workers.items():
                found[name]["step"] += worker("step", repeat)["step"]
        if tree == "lora-1000":
            for name in ("gradxform", "optax"):
                found[name]["unjitted"] = workers[name]("unjitted", 5)["unjitted"]
    finally:
        for worker in workers.values():
            worker.close()
    return found


def import_times(then: str = "pass", repeat: int = 9) -> dict[str, list[float]]:
    """Seconds that a library's import, and a statement with it as `x`, take beyond JAX's import."""
    code = "import jax, time; t = time.perf_counter(); import {} as x; " + then + "; print(time.perf_counter() - t)"
    times: dict[str, list[float]] = {"gradxform": [], "optax": []}
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for turn in range(repeat + 1):
        for name, found in times.items():
            command = [sys.executable, "-c", code.format(name)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            if turn:
                found.append(float(done.stdout))
    return times


def ratio(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Median, lowest and highest of the ratios, taken pair by pair of neighbouring measurements."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def spread(ours: list[float], theirs: list[float]) -> str:
    middle, least, most = ratio(ours, theirs)
    return f"{middle:.2f} ({least:.2f}-{most:.2f})" if len(ours) > 1 else f"{middle:.2f}"


def _sizes(ours: int, theirs: int | None) -> str:
    return "" if theirs is None else f"{ours / 1e6:.1f} / {theirs / 1e6:.1f}"


def rows_of(figures: dict[str, Any]) -> list[list[str]]:
    rows = []
    for key, found in figures["trees"].items():
        for name, peer in pairs(found):
            ours, theirs = found[name], found[peer]
            row = [f"{key}{name.removeprefix('gradxform').replace('-', ', ')}", peer]
            row += [f"{1e3 * statistics.median(side['step']):.1f}" for side in (ours, theirs)]
            for what in ("step", "trace", "compile", "unjitted"):
                row.append(spread(ours[what], theirs[what]) if ours.get(what) and theirs.get(what) else "")
            row += [_sizes(ours[what], theirs.get(what)) for what in ("temp_bytes", "state_bytes")]
            rows.append(row)
    return rows


def pairs(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Every way of ours beside every peer."""
    ours = [name for name in found if name.startswith("gradxform")]
    return [(name, peer) for name in ours for peer in found if peer not in ours]


HEAD = ["tree, optimizer", "peer", "ours ms", "peer ms", "step", "trace", "compile", "un-jitted"]
HEAD += ["temporaries MB", "state MB"]


def table(figures: dict[str, Any]) -> str:
    lines = [
        f"Ratios gradxform / peer: median (lowest-highest). {figures['machine']}.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|" + "---|" * len(HEAD),
        *("| " + " | ".join(row) + " |" for row in rows_of(figures)),
        "",
        *(
            f"{what} beyond JAX's own: {spread(times['gradxform'], times['optax'])} x optax."
            for what, times in figures["import"].items()
        ),
    ]
    steps = [
        ratio(found["gradxform"]["step"], found["optax"]["step"])[0]
        for key, found in figures["trees"].items()
        if key.startswith("resnet50") and key.removeprefix("resnet50, ") in optimizers.BOTH
    ]
    if steps:
        lines.append(
            f"Geometric mean of the ResNet-50 steps over {len(steps)} optimizers: "
            f"{statistics.geometric_mean(steps):.2f}."
        )
    return "\n".join(lines) + "\n"


def picture(figures: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    names, middles, low, high = [], [], [], []
    for key, found in figures["trees"].items():
        for name, peer in pairs(found):
            middle, least, most = ratio(found[name]["step"], found[peer]["step"])
            names.append(f"{key}{name.removeprefix('gradxform')} / {peer}")
            middles.append(middle)
            low.append(middle - least)
            high.append(most - middle)
    figure, axes = pyplot.subplots(figsize=(8, 0.3 * len(names) + 1))
    axes.barh(names, middles, xerr=(low, high), color="tab:blue", ecolor="gray")
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("step time, gradxform / peer")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def compare(first: Path, second: Path) -> None:
    """Print the ratio of medians, second / first, for every figure that both files have."""
    a, b = (json.loads(path.read_text())["trees"] for path in (first, second))
    for key in a:
        for what in ("step", "trace", "compile"):
            x, y = (f.get(key, {}).get("gradxform", {}).get(what) for f in (a, b))
            if x and y:
                print(f"{key:32} {what:8} {statistics.median(y) / statistics.median(x):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="measure what contains this text, e.g. lora or resnet50,adam")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of at least 2 steps each")
    parser.add_argument("--builds", type=int, default=5, help="times each program is traced and compiled")
    parser.add_argument("--json", type=Path, help="also write the raw figures here")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("A", "B"), help="compare two such files and stop")
    options = parser.parse_args()
    if options.compare:
        compare(*options.compare)
        return
    figures: dict[str, Any] = {
        "trees": {},
        "import": {
            "Import": import_times(),
            "Import and a first `adamw`": import_times("x.adamw(1e-3)"),
            "Import of every name": import_times("[getattr(x, name) for name in dir(x)]"),
        },
    }
    jobs = HEADLINES + [("resnet50", name) for name in (*optimizers.BOTH, *optimizers.COMPOSED)]
    for tree, optimizer in jobs:
        key = f"{tree}, {optimizer}"
        if options.only not in key:
            continue
        headline = (tree, optimizer) in HEADLINES
        libraries = ["gradxform", *(PEERS.get(tree, ["optax"]) if headline else ["optax"])]
        figures["trees"][key] = measure(tree, optimizer, libraries, options.rounds, options.builds if headline else 1)
        middle = ratio(figures["trees"][key]["gradxform"]["step"], figures["trees"][key]["optax"]["step"])
        print(f"{key:32} step {middle[0]:.2f} x optax", flush=True)
    worker = Process("gradxform")
    figures["machine"] = f"{worker('device')}, {os.cpu_count()} cores, {platform.machine()}"
    worker.close()
    OUTPUT.mkdir(exist_ok=True)
    (OUTPUT / "table.md").write_text(table(figures))
    picture(figures, OUTPUT / "steps.png")
    if options.json:
        options.json.write_text(json.dumps(figures))
    print(table(figures))
    print(f"written: {OUTPUT / 'table.md'}, {OUTPUT / 'steps.png'}")


if __name__ == "__main__":
    main()
