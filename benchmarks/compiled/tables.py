"""Write the kept figures as tables and a picture: all into `results.md`, what people ask for into `docs/speed.md`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.compiled.kept import PATH, Figures, load

DOCS = PATH.parents[2] / "docs"
NAMES = {"h100": "H100", "v5e": "TPU v5e"}
Pair = tuple[Figures, Figures | None]
"""A row's figures of gradxform, and of optax where it has it."""


def pairs(figures: list[Figures], target: str, name: str) -> dict[str, Pair]:
    rows: dict[str, dict[str, Figures]] = {}
    for f in figures:
        if (f["target"], f["set"]) == (target, name):
            rows.setdefault(f["row"], {})[f["library"]] = f
    return {row: (found["gradxform"], found.get("optax")) for row, found in rows.items() if "gradxform" in found}


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def ratio(of: float, to: float | None, digits: int = 2) -> str:
    return f"{of / to:.{digits}f}" if to else ""


def with_peer(pair: Pair, key: str, form: str) -> str:
    """Ours, and optax's in brackets."""
    ours, peer = pair
    beside = f" ({peer[key]:{form}})" if peer and key in peer else ""
    return f"{ours[key]:{form}}{beside}" if key in ours else beside.strip()


def beside_peer(pair: Pair, key: str) -> str:
    ours, peer = pair
    return ratio(ours[key], peer[key]) if peer and key in ours and key in peer else ""


def cycles_of_adamw(figures: list[Figures]) -> float | None:
    """What the cycles of all rows are compared to."""
    found = pairs(figures, "v5e", "compositions").get("adamw")
    return found[0].get("cycles") if found else None


def sent(f: Figures) -> str:
    return ", ".join(f"{n:g} {kind} {size / 1e6:.3g} MB" for kind, (n, size) in f.get("sent", {}).items())


def above(pair: Pair) -> bool:
    """Whether more passes are made than the floor's, or more cycles than optax takes, by over 2 %."""
    ours, peer = pair
    over = ours.get("passes", 0) > 1.02 * ours["floor"] > 0
    return over or bool(peer and ours.get("cycles", 0) > 1.02 * peer.get("cycles", 1e9))


def remarks(pair: Pair) -> str:
    """What collectives send, what the floor is made of and why, what is above it, what cannot be compiled."""
    ours, peer = pair
    floor = f"`{ours['of']}`" + f": {ours['why']}" * bool(ours["why"])
    words = [sent(ours), ours.get("failed", ""), floor, ours["left"] if above(pair) else "", *ours.get("notes", [])]
    if peer and sent(peer):
        words.insert(1, f"(optax: {sent(peer)})")
    if peer and "failed" in peer:
        words.append(f"optax: {peer['failed']}")
    return "; ".join(filter(None, words)).replace("|", "\\|")


def full(figures: list[Figures], target: str, name: str) -> str:
    """All that is known of a set on a target."""
    head = ["", "floor", "passes", "/ floor", "/ optax", "temp %", "kernels", "copies"]
    head += ["cycles / AdamW's", "/ optax's"] * (target == "v5e") + ["trace s", "compile s", ""]
    base, rows = cycles_of_adamw(figures), []
    for row, pair in pairs(figures, target, name).items():
        ours = pair[0]
        over = ours["passes"] / ours["floor"] if ours["floor"] and "passes" in ours else 1.0
        cells = [f"{row}", f"{ours['floor']:.2f}", with_peer(pair, "passes", ".2f"), f"{over:.2f}"]
        cells += [beside_peer(pair, "passes"), *(with_peer(pair, key, ".0f") for key in ("temp", "kernels", "copies"))]
        if target == "v5e":
            cells += [ratio(ours["cycles"], base) if "cycles" in ours else "", beside_peer(pair, "cycles")]
        cells += [with_peer(pair, key, ".1f") for key in ("trace_s", "compile_s")]
        rows.append([*cells, remarks(pair)])
    return table(head, rows)


def short(figures: list[Figures]) -> str:
    """The compositions on both targets, a line each; where one is above its floor, the reason follows."""
    h100, v5e = (pairs(figures, target, "compositions") for target in ("h100", "v5e"))
    base, rows, reasons = cycles_of_adamw(figures), [], []
    for row, pair in h100.items():
        ours, there = pair[0], v5e.get(row)
        if "passes" not in ours:
            continue
        over = ours["passes"] / ours["floor"]
        cells = [row, f"{ours['floor']:.2f}", f"{ours['passes']:.2f}", f"{over:.2f}", beside_peer(pair, "passes")]
        cells += [f"{ours['temp']:.0f}", f"{ours['kernels']:.0f}"]
        if there and "cycles" in there[0]:
            cells += [ratio(there[0]["cycles"], base), beside_peer(there, "cycles"), f"{there[0]['temp']:.0f}"]
        else:
            cells += [""] * 3
        rows.append(cells)
        if ours["left"] and (above(pair) or (there and above((there[0] | {"floor": 0}, there[1])))):
            reasons.append(f"* {row}: {ours['left']}.")
    head = ["", "floor", "H100 passes", "/ floor", "/ optax", "temp %", "kernels"]
    text = table([*head, "v5e cycles / AdamW's", "/ optax's", "temp %"], rows)
    return text + ("\nAbove their floor, or above optax:\n\n" + "\n".join(reasons) + "\n" if reasons else "")


def training(figures: list[Figures]) -> str:
    """What of a whole step is the optimizer's."""
    rows = []
    for target in NAMES:
        for row, (f, _) in pairs(figures, target, "training").items():
            cells = [NAMES[target], row]
            for key, form in (("passes", ".1f"), ("temp", ".0f"), ("kernels", ".0f"), ("cycles", ".2f")):
                whole, own = f[key], f[key] - f["alone"][key]
                cells.append(f"{whole:{form}}, {own:{form}} ({100 * own / whole:.0f} %)" if whole else "")
            rows.append(cells)
    return table(["", "", "passes", "temporaries %", "kernels", "cycles"], rows)


def times(figures: list[Figures]) -> str:
    """How many kernels differ, seconds of trace and compilation, and their sum beside plain AdamW's and optax's."""
    rows = []
    for target in NAMES:
        found = pairs(figures, target, "times")
        for row, pair in found.items():
            plain = found.get(row.split(":")[0] + ": adamw")
            sums = [
                f["trace_s"] + f["compile_s"] if f and "trace_s" in f else None for f in (*pair, plain and plain[0])
            ]
            forms = {"different": "d", "trace_s": ".2f", "compile_s": ".2f"}
            cells = [NAMES[target], row, *(with_peer(pair, key, form) for key, form in forms.items())]
            rows.append([*cells, *(ratio(sums[0], other) if sums[0] else "" for other in (sums[2], sums[1]))])
    return table(["", "", "kernels", "trace s", "compile s", "/ AdamW's", "/ optax's"], rows)


def sections(figures: list[Figures]) -> Iterator[tuple[str, str]]:
    yield "passes", short(figures) + "\n![Passes beside their floor, and cycles beside optax's](passes.png)\n"
    yield "training", training(figures)
    yield "times", times(figures)


def into(text: str, name: str, new: str, by: str = "make passes") -> str:
    """A page with its generated part of a name made anew; it stands between two comments."""
    start, end = f"<!-- {name}: generated by `{by}` -->\n", f"<!-- {name}: end -->"
    found, count = re.subn(
        f"{re.escape(start)}.*?{re.escape(end)}", lambda _: f"{start}\n{new}\n{end}", text, flags=re.S
    )
    if count != 1:
        raise ValueError(f"{count} parts named {name!r} in the page")
    return found


def picture(figures: list[Figures], path: Path) -> None:
    """Passes beside the floor on an H100, cycles beside optax's (else AdamW's) on a v5e."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    h100, v5e = (pairs(figures, target, "compositions") for target in ("h100", "v5e"))
    names = [row for row, (ours, _) in h100.items() if "passes" in ours]
    drawn, axes = pyplot.subplots(1, 2, sharey=True, figsize=(10, 0.25 * len(names) + 1.2))

    def points(which: int, values: dict[str, Any], label: str, **style: Any) -> None:
        axes[which].plot(
            list(values.values()), [names.index(row) for row in values], linestyle="", label=label, **style
        )

    ratios = [{row: side["passes"] / side["floor"] for row in names if (side := h100[row][i]) and "passes" in side}
              for i in (0, 1)]  # fmt: skip
    points(0, ratios[1], "optax", marker="o", color="tab:orange")
    points(0, ratios[0], "gradxform", marker="x", color="tab:blue")
    beside = {row: pair for row, pair in v5e.items() if row in names and "cycles" in pair[0]}
    both = {row: f["cycles"] / peer["cycles"] for row, (f, peer) in beside.items() if peer and peer.get("cycles")}
    points(1, both, "beside optax", marker="x", color="tab:blue")
    if base := cycles_of_adamw(figures):
        alone = {row: f["cycles"] / base for row, (f, _) in beside.items() if row not in both}
        points(1, alone, "beside plain AdamW", marker="+", color="gray")
    for one, title in zip(axes, ("H100: passes / floor", "TPU v5e: cycles"), strict=True):
        one.axvline(1.0, color="black", linewidth=0.8)
        one.set_xscale("log")
        one.set_xticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])
        one.minorticks_off()
        one.set_title(title)
        one.grid(axis="y", linewidth=0.3)
        one.legend(fontsize="small", loc="lower right")
    axes[0].set_yticks(range(len(names)), names, fontsize="small")
    axes[0].invert_yaxis()
    drawn.tight_layout()
    drawn.savefig(path, dpi=100)


def write(path: Path = PATH, docs: Path = DOCS) -> None:
    """Everything, from the file of figures."""
    figures = load(path)
    found = dict.fromkeys((f["target"], f["set"]) for f in figures if f["set"] not in ("training", "times"))
    parts = [f"## {NAMES[target]}, {name}\n\n{full(figures, target, name)}" for target, name in found]
    parts += ["## A whole training step\n\n" + training(figures), "## Trace and compilation\n\n" + times(figures)]
    text = "# Compiled for an H100 and a TPU v5e\n\nMade by `make passes`; optax's figures stand in brackets.\n\n"
    path.with_suffix(".md").write_text(text + "\n".join(parts))
    page = (docs / "speed.md").read_text()
    for name, new in sections(figures):
        page = into(page, name, new)
    (docs / "speed.md").write_text(page)
    picture(figures, docs / "passes.png")
