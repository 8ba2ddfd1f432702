"""Programs compiled for an H100 and a TPU v5e, where `make passes` has made the environment for it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-compiled" / "bin" / "python"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="needs .venv-compiled, an environment that `make passes` makes"),
]


def run(*command: str) -> str:
    done = subprocess.run([str(PYTHON), "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("target", ["h100", "v5e"])
def test_counted_by_hand(target: str) -> None:
    for name, (by_hand, counted) in json.loads(run("tests.benchmarks.hand_counted", target).splitlines()[-1]).items():
        # Beside large arrays some programs move small ones, which the count by hand leaves out.
        assert counted == pytest.approx(by_hand, rel=0.03, abs=1e-3), name


def test_at_the_floor(tmp_path: Path) -> None:
    from benchmarks.compiled.limits import LIMITS

    path = tmp_path / "figures.json"
    run("benchmarks.compiled", "h100", "--set", "short", "--dry", "--json", str(path))
    ours: dict[str, Any] = {f["row"]: f for f in json.loads(path.read_text()) if f["library"] == "gradxform"}
    assert ours.keys() == LIMITS.keys()
    for name, (passes, temp) in LIMITS.items():
        assert "failed" not in ours[name], ours[name]
        assert ours[name]["passes"] <= 1.001 * passes, name
        assert ours[name]["temp"] <= temp, name
