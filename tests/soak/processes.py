"""Two processes of one run: one dies at random, the other is ended with it, and both come back on the same losses."""

from __future__ import annotations

import signal
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from tests.devices.test_processes import finish, start

STEPS = 24


def lives(folder: Path, *options: str) -> tuple[int, dict[int, float], str]:
    """Status, loss by step and all that was printed, of one life of both processes."""
    status, steps, text = finish(start(folder, "--steps", str(STEPS), *options))
    return status, {step: loss for step, (_, loss) in steps.items()}, text


def soak(seed: int) -> Counter[str]:
    """One run that nobody disturbs, and one whose last process dies after random steps, again and again."""
    rng = np.random.default_rng(seed)
    every, kills, done = str(rng.integers(2, 6)), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        status, whole, text = lives(Path(folder, "whole"), "--every", str(STEPS))
        assert status == 0, text
        while done < STEPS:
            dies = done + int(rng.integers(1, STEPS // 2))
            death = ("--lose-after", str(dies)) if dies < STEPS else ()
            status, losses, text = lives(Path(folder, "broken"), "--every", every, *death)
            assert status == (signal.SIGKILL if death else 0), text
            other = {step: (loss, whole[step]) for step, loss in losses.items() if loss != whole[step]}
            assert not other, f"after {kills} deaths, step: losses {other}"
            done = max(losses, default=0)
            assert done == min(dies, STEPS), text
            kills += bool(death)
    return Counter({"kills": kills, "runs": 1})
