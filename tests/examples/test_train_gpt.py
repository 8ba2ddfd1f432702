"""The GPT example, briefly: a program of its own, which kills another."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

for needed in ("orbax.checkpoint", "rich"):
    pytest.importorskip(needed)

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_gpt.py"


@pytest.mark.slow
def test_a_killed_run_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    """The killed process and the resumed run take the programs that the undisturbed run has compiled."""
    kept = {"JAX_ENABLE_COMPILATION_CACHE": "true", "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled")}
    kept["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    size = ("--batches", "8", "--width", "16", "--layers", "1", "--methods", "Muon")
    command = [sys.executable, str(EXAMPLE), *size, "--directory", str(tmp_path / "gpt")]
    own = {**os.environ, "PYTHONPATH": str(EXAMPLE.parents[1]), "COLUMNS": "120", **kept}
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("│ Muon"))
    loss, validation, size_of_state, killed, resumed = (cell.strip() for cell in row.split("│")[2:-1])
    assert all(3 < float(x) < 5 for x in (loss, validation))  # a guess among 99 characters: 4.6
    # The average and the sum of gradients, 4 bytes each; 2 of the master; codes for those moments that are large.
    assert 10 < float(size_of_state) < 18
    assert int(re.fullmatch(r"batch (\d)", killed)[1]) in (5, 6, 7, 8)
    assert resumed == "bit for bit"
    assert {int(path.name) for path in (tmp_path / "gpt" / "Muon" / "killed").iterdir()} == {3, 6}


def test_bad_options_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module(EXAMPLE.stem).parse(["--width", "7"])
    assert "--width a multiple of 4" in capsys.readouterr().err
