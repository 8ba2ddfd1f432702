"""One short run of each part of `make soak`; and that each finds what is wrong."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.catalogue import CATALOGUE
from tests.soak import __main__ as command
from tests.soak import bad_input, compositions, kills, numbers, processes, states
from tests.trees import Param


def test_compositions() -> None:
    seen = compositions.soak(0, 60)
    assert seen["held"] > 10
    assert seen["refused"] > 10


def test_states_of_others_and_states_that_were_changed() -> None:
    assert states.pairs(0, 40).total() == 40
    assert states.imported(0, 20) == {"refused": 20}


def test_numbers() -> None:
    assert numbers.soak(0, entries=1, draws=5).total() == 15


def test_bad_input() -> None:
    assert bad_input.soak(0, 1).total() == len(bad_input.VALUES)


@pytest.mark.slow
def test_a_run_that_is_killed_ends_as_one_that_is_not() -> None:
    def saving(life: Any, folder: Path) -> None:
        """Until the life has begun to save, however fast the machine is."""
        while life.is_alive() and not any(folder.glob("saved/*")):
            time.sleep(0.001)

    whole, kept = kills.end("accumulate")
    found, count = kills.end("accumulate", saving, most=1)
    assert (kept, count) == (0, 1)
    for x, y in zip(found, whole, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("wrong", ["", "loss", "status"])
def test_two_processes_are_held_to_the_losses_of_a_whole_run(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """`tests/devices/test_processes.py` starts real ones."""
    saved: dict[Path, int] = {}

    def lives(folder: Path, *options: str) -> Any:
        given = dict(zip(options[::2], map(int, options[1::2]), strict=True))
        dies = given.get("--lose-after")
        losses = {step: 1 / step for step in range(saved.get(folder, 0) + 1, (dies or processes.STEPS) + 1)}
        saved[folder] = max(losses) // given["--every"] * given["--every"]
        if dies:
            losses[dies] *= 1.1 if wrong == "loss" else 1.0
        return signal.SIGKILL if dies and wrong != "status" else 0, losses, "printed"

    monkeypatch.setattr(processes, "lives", lives)
    if wrong:
        with pytest.raises(AssertionError, match=r"after 0 deaths, step: losses \{" if wrong == "loss" else "printed"):
            processes.soak(0)
    else:
        assert processes.soak(0)["kills"] > 0


class Doubling(gx.Rule):
    """Its memory grows, which is refused; an infinite update is not."""

    infinite: bool = False

    def update(self, g, s, p, k):
        return (jnp.full_like(g, jnp.inf) if self.infinite else jnp.concatenate([g, g])), s


LEAF = Param((2,), jnp.float32, jnp.float32)


def test_what_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOGUE, "wrong", lambda: gx.lift(Doubling(infinite=True)))
    assert compositions.verdict(["wrong"], [], LEAF, run=False) == "held"
    assert compositions.verdict(["wrong"], [], LEAF, run=True).startswith("parameters are not finite")
    monkeypatch.setitem(CATALOGUE, "raises", lambda: jax.eval_shape(lambda: jnp.zeros(3) + jnp.zeros(2)))
    assert compositions.verdict(["raises"], [], LEAF, run=False).startswith("not in words of its own")
    monkeypatch.setitem(CATALOGUE, "key", lambda: {}["a"])
    assert compositions.verdict(["key"], [], LEAF, run=False).startswith("KeyError")


def test_runs_add_up_and_failures_are_counted(monkeypatch, tmp_path, capsys) -> None:
    def fails(seed: int) -> Counter[str]:
        assert seed != 1, "seed one is wrong"
        return Counter({"tries": 5})

    monkeypatch.setattr(command, "PARTS", {"part": fails})
    monkeypatch.setattr(command, "KEPT", tmp_path / "reliability.json")
    seconds = iter(range(100))
    monkeypatch.setattr(command.time, "monotonic", lambda: float(next(seconds)))
    monkeypatch.setattr(sys, "argv", ["soak", "--minutes", str(9 / 60)])
    assert command.main() == 1
    assert "FAILED part, seed 1: seed one is wrong" in capsys.readouterr().out
    kept = json.loads((tmp_path / "reliability.json").read_text())["part"]
    assert kept == {"next": {"seed": 3}, "counts": {"tries": 10, "failures": 1}}
    assert "| part | 3 | 10 tries | 1 |" in (tmp_path / "reliability.md").read_text()
