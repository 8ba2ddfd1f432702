"""Every recorded run of torch, paddle and MindSpore, replayed; and the program that does it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.compat import replay

CASES = replay.cases(replay.GOLDEN)

DECIDED_OTHERWISE = {
    "mindspore_Adagrad_no_update_slots_quirk",
    "mindspore_Adam_sparse_lazy_repeated_rows_default_target_quirk",
    "mindspore_Adam_sparse_plain_repeated_rows_default_target_quirk",
    "mindspore_FTRL_l1_l2_quirk",
    "mindspore_Momentum_nesterov_cpu_quirk",
    "paddle_Adam_lazy_mode_sparse_quirk",
    "paddle_Momentum_sparse_unsorted_unique_rows_quirk",
}
"""Defects of kernels that are not reproduced; the page "Optimizers of other frameworks" says why, one by one."""

NOT_BUILT = {
    "torch": set(),
    "mindspore": set(),
    "paddle": set(),
}


def config_of(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return json.loads(str(file["config"]))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_recorded_runs(path: Path) -> None:
    config = config_of(path)
    result = replay.replay(path)
    if result.verdict == "not built":
        assert config["optimizer"] in NOT_BUILT[config["framework"]]
        return
    expected = "differs" if path.stem in DECIDED_OTHERWISE else "reproduced"
    assert result.verdict == expected, result.detail
    assert "Error" not in result.detail


def test_what_is_decided_otherwise_is_a_quirk() -> None:
    quirks = {path.stem for path in CASES if config_of(path)["quirk"]}
    assert quirks > DECIDED_OTHERWISE


def changed(source: Path, target: Path, **config: object) -> None:
    """A copy of a case with other entries in its config."""
    with np.load(source) as file:
        arrays = dict(file)
    arrays["config"] = np.array(json.dumps(json.loads(str(arrays["config"])) | config))
    np.savez(target, **arrays)


def test_the_program_counts_and_names_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One case as it is, one of a rule that nobody has, one with another rate, and one marked as a quirk."""
    source = replay.GOLDEN / "paddle_SGD_clip_global_norm_decay.npz"
    (tmp_path / "deeper").mkdir()
    shutil.copy(source, tmp_path / "deeper" / "same.npz")
    assert replay.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "1 of 1 cases reproduced, 0 not built\n"

    other = {"learning_rate": 0.25}
    changed(source, tmp_path / "quirk.npz", kwargs=other, quirk="it does otherwise")
    changed(source, tmp_path / "unknown.npz", optimizer="Nobody")
    assert replay.main([str(tmp_path)]) == 0
    assert "quirk: a quirk that is decided otherwise: it does otherwise" in capsys.readouterr().out

    changed(source, tmp_path / "other.npz", kwargs=other)
    changed(source, tmp_path / "refused.npz", kwargs={"learning_rate": "fast"})
    assert replay.main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "1 of 5 cases reproduced, 1 not built"
    assert [line.split(":")[0] for line in lines[:-1]] == ["other", "quirk", "refused"]
    assert "after step 1 is off by" in lines[0]
    assert "refused: differs: TypeError: learning_rate must be a float" in lines[2]


def test_an_empty_folder_is_a_failure(tmp_path: Path) -> None:
    assert replay.main([str(tmp_path)]) == 1


def test_a_difference_in_the_state_alone_is_found(tmp_path: Path) -> None:
    source = replay.GOLDEN / "paddle_Momentum_plain.npz"
    with np.load(source) as file:
        arrays = dict(file)
    key = next(key for key in arrays if key.startswith("state/"))
    arrays[key] = arrays[key] * np.float32(1 + 1e-5)
    np.savez(tmp_path / "state.npz", **arrays)
    result = replay.replay(tmp_path / "state.npz")
    assert result.verdict == "differs"
    assert "velocity" in result.detail
    assert "after the last step is off by 9.99e-06" in result.detail
