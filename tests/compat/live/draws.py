"""Random options, seeded; `None` and a missing entry are draws like others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

SHAPES: dict[str, tuple[int, ...]] = {
    "conv/kernel": (3, 16, 2),
    "bn/gamma": (4,),
    "alphabeta/w": (4,),
    "dense/kernel": (5, 7),
    "embed/table": (11, 16),
}
STEPS = 8


class Draw:
    """A source of random choices."""

    def __init__(self, *seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def number(self, low: float, high: float) -> float:
        return round(float(self.rng.uniform(low, high)), 4)

    def whole(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def one(self, *of: Any) -> Any:
        """One of some values; of functions, what the chosen one draws."""
        x = of[int(self.rng.integers(len(of)))]
        return x(self) if callable(x) else x

    def given(self, options: Mapping[str, Option], share: float = 0.6) -> dict[str, Any]:
        """Some of the options, each with a value of its own."""
        return {name: option(self) for name, option in options.items() if self.chance(share)}

    def parts(self, count: int, of: Iterable[str] = SHAPES) -> list[list[str]]:
        """The leaves in so many groups, none of them empty; some leaves are in no group."""
        leaves = [str(leaf) for leaf in self.rng.permutation(sorted(of))]
        cuts = sorted(self.rng.choice(np.arange(1, len(leaves)), count - 1, replace=False))
        parts = [part.tolist() for part in np.split(np.array(leaves), cuts)]
        return [part[:-1] if len(part) > 1 and self.chance(0.2) else part for part in parts]


Option = Callable[[Draw], Any]


def between(low: float, high: float) -> Option:
    return lambda d: d.number(low, high)


def one_of(*values: Any) -> Option:
    return lambda d: d.one(*values)


def flag(share: float) -> Option:
    return lambda d: d.chance(share)


def arrays(d: Draw, config: dict[str, Any]) -> dict[str, Any]:
    """Parameters and gradients in the config's dtype: some exact zeros, leaves without a gradient, and sparse rows."""
    dtype, size = np.dtype(config["dtype"]), config["grad_scale"] * d.one(0.01, 1.0, 1.0, 1.0, 30.0)

    def drawn(shape: Sequence[int], size: float) -> Any:
        return np.where(d.rng.random(shape) < 0.05, 0.0, size * d.rng.normal(size=shape)).astype(dtype)

    found = {f"param/{leaf}": drawn(shape, 1.0) for leaf, shape in config["leaves"]}
    for t in range(1, STEPS + 1):
        for leaf, shape in config["leaves"]:
            if leaf in config["sparse_leaves"]:
                rows = d.rng.integers(0, shape[0], d.whole(1, 6))
                rows = rows if config["rows"] == "any" else np.unique(rows)
                found[f"grad_indices/{t}/{leaf}"] = rows.astype(np.int32)
                found[f"grad_values/{t}/{leaf}"] = drawn((len(rows), *shape[1:]), size)
            elif [t, leaf] not in config["none_grads"]:
                found[f"grad/{t}/{leaf}"] = drawn(shape, size)
    return found
