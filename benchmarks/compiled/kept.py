"""The figures that are kept, a line for each row of one library on one target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent / "results.json"
KEY = ("target", "set", "row", "library")

Figures = dict[str, Any]


def load(path: Path = PATH) -> list[Figures]:
    return json.loads(path.read_text()) if path.exists() else []


def rounded(x: Any) -> Any:
    if isinstance(x, float):
        return float(f"{x:.4g}")
    if isinstance(x, dict):
        return {key: rounded(value) for key, value in x.items()}
    return [rounded(value) for value in x] if isinstance(x, list) else x


def merge(old: list[Figures], new: list[Figures], whole: bool = False) -> list[Figures]:
    """Old figures with new ones in their places; rows that are new follow the last one of their set, and where the new
    ones are a whole set, no other stays in it."""
    sets = {(f["target"], f["set"]) for f in new}
    places = {tuple(f[k] for k in KEY): f for f in old if not (whole and (f["target"], f["set"]) in sets)}
    places |= {tuple(f[k] for k in KEY): f for f in new}
    order = {name: i for i, name in reversed([*enumerate((f["target"], f["set"]) for f in (*old, *new))])}
    return sorted(places.values(), key=lambda f: order[f["target"], f["set"]])


def save(new: list[Figures], whole: bool = False, path: Path = PATH) -> None:
    lines = [json.dumps(rounded(f)) for f in merge(load(path), new, whole)]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
