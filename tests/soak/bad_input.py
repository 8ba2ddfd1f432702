"""The table of bad values, in full, a slice a run."""

from __future__ import annotations

import functools
import warnings
from collections import Counter

from tests.bad_values import FINE, VALUES, Argument, every_argument, verdict


@functools.cache
def arguments() -> list[Argument]:
    return [*every_argument()]


def soak(seed: int, count: int = 10) -> Counter[str]:
    """Every value for the next arguments; after the last the first come again."""
    seen: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(seed * count, (seed + 1) * count):
            argument = arguments()[i % len(arguments())]
            for label in VALUES:
                said = verdict(argument, label)
                assert said in FINE, f"{argument} {label}: {said}"
                seen[said] += 1
    return seen
