"""What a row of the tables is, and what it cannot cost less than."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

Shapes = dict[str, tuple[int, ...]]
WORD = re.compile(r"(?:([\d.]+)\*)?[a-z]+(?:/(\d+))?")


def transformer(layers: int = 2, d: int = 1024) -> Shapes:
    """59 M parameters: twice what a v5e's VMEM holds, so that it cannot keep what it reads twice."""
    tree: Shapes = {"embed": (32768, d), "norm": (d,)}
    for i in range(layers):
        h = {"norm": (d,), "qkv": (d, 3 * d), "out": (d, d), "fc": (d, 4 * d), "fc_bias": (4 * d,), "proj": (4 * d, d)}
        tree |= {f"h{i}/{name}": shape for name, shape in h.items()}
    return tree


@dataclass
class Row:
    """A transformation to compile, and its floor."""

    name: str
    make: Callable[[Any], Any]
    """From the library, gradxform or (where `peer` is True) its peer, the transformation."""
    floor: str
    """What must move, in passes: "p g mu nu, again g -> p mu nu" is 8. See `passes`."""
    why: str = ""
    """Why something is read again."""
    left: str = ""
    """What keeps it above its floor."""
    peer: Any = True
    """True: the peer makes it in the same words; None: it has none; a function from the peer: its own words."""
    params: str = "float32"
    grads: str = ""
    shapes: Any = field(default_factory=transformer)
    extra: Callable[[], dict[str, Any]] = dict
    """What the update is given beside the gradients; arrays among it are arguments of the program."""
    examples: int = 0
    """How many examples have a gradient of their own."""
    axis: str | None = None
    """The device axis that the update must run in."""
    every: int = 1
    """A conditional takes its dearer branch, and a loop of unknown trips runs, once in so many steps."""
    place: str = "whole"
    """On several devices: parameters and state "whole" on each, "split", or the "state" split alone."""


def passes(floor: str) -> float:
    """The number of a floor's words: each is an array that is read, or behind an arrow written, once.

    "mu/2" has half as many bytes as there are parameters in float32, "4*g" four times as many; "again" is no array.
    "3/4: g acc -> acc + 1/4: p g acc -> p acc" is a mean of two kinds of steps, or of two kinds of parameters.
    """
    total = Fraction(0)
    for part in floor.split(" + "):
        share, _, words = part.rpartition(": ")
        for word in re.sub(r"->|,|\bagain\b", " ", words).split():
            found = WORD.fullmatch(word)
            if not found:
                raise ValueError(f"{word!r} in the floor {floor!r}")
            total += Fraction(share or 1) * Fraction(found[1] or 1) / int(found[2] or 1)
    return float(total)
