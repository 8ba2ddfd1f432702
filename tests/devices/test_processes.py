"""Several processes over loopback, one of them lost, and the rest of the run on another number of devices."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("orbax.checkpoint")

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_processes.py"
SAID = re.compile(r"^step (\d+) on (\d+) devices: (\S+)$", re.MULTILINE)


def start(directory: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(EXAMPLE), "--directory", str(directory), "--timeout", "100", *options]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLE.parents[1])}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(run: subprocess.Popen[str]) -> tuple[int, dict[int, tuple[int, float]], str]:
    """Status, devices and loss by step, and all it printed; whatever happens, nothing of it is left running."""
    try:
        text, _ = run.communicate(timeout=120)
    finally:
        end_group(run)
    return run.returncode, {int(step): (int(n), float(loss)) for step, n, loss in SAID.findall(text)}, text


def end_group(run: subprocess.Popen[str]) -> None:
    """Everything that a run has started is in its session, of which it is the leader."""
    try:
        os.killpg(run.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    run.wait()


def left(run: subprocess.Popen[str]) -> bool:
    try:
        os.killpg(run.pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_lost_process_and_another_number_of_devices(tmp_path: Path) -> None:
    """2 x 2 devices to step 7 of 14, then 2 x 1 to step 11, then 1 x 8, against 1 device all the way."""
    unbroken = start(tmp_path / "unbroken", "--processes", "1", "--devices", "1", "--steps", "14", "--every", "14")
    try:
        status, first, text = finish(start(tmp_path / "broken", "--steps", "14", "--every", "5", "--lose-after", "7"))
        assert status == signal.SIGKILL, text
        status, second, text = finish(start(tmp_path / "broken", "--devices", "1", "--steps", "11", "--every", "5"))
        assert status == 0, text
        third_options = ("--processes", "1", "--devices", "8", "--steps", "14", "--every", "5")
        status, third, text = finish(start(tmp_path / "broken", *third_options))
        assert status == 0, text
    finally:
        status, expected, whole_text = finish(unbroken)
    assert status == 0, whole_text
    assert {n for n, _ in expected.values()} == {1}
    assert (sorted(first), {n for n, _ in first.values()}) == ([*range(1, 8)], {4})
    assert (sorted(second), {n for n, _ in second.values()}) == ([*range(6, 12)], {2})
    assert (sorted(third), {n for n, _ in third.values()}) == ([*range(11, 15)], {8})
    assert sorted(expected) == [*range(1, 15)]
    assert expected[14][1] < 0.5 * expected[1][1]
    for found in (first, second, third):
        for step, (_, loss) in found.items():
            # Sums over a batch run in another order on another number of devices.
            assert loss == pytest.approx(expected[step][1], rel=2e-6), step
    on_each, of_all = map(int, re.search(r"(\d+) of (\d+) bytes of state on each device", text).groups())
    assert on_each <= (1 / 8 + 0.02) * of_all


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Out of time, or ended from outside: the launcher takes its processes with it."""
    late = start(tmp_path / "late", "--steps", "1000000", "--timeout", "8")
    ended = start(tmp_path / "ended", "--steps", "1000000")
    try:
        assert next(line for line in ended.stdout if SAID.match(line.rstrip()))
        ended.terminate()
        ended.communicate(timeout=60)
        assert ended.returncode == 143
        assert not left(ended)
        late.communicate(timeout=60)
        assert late.returncode == 124
        assert not left(late)
    finally:
        end_group(late)
        end_group(ended)
