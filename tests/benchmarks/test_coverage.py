import json

import pytest

from benchmarks import coverage


def counted(lines: int, branches: int) -> dict:
    counts = {"covered_lines": lines, "missing_lines": 100 - lines}
    counts |= {"covered_branches": branches, "missing_branches": 100 - branches}
    file = {"missing_lines": [7, 9], "missing_branches": [[7, 9]]}
    return {"summary": counts, "files": {"gradxform/a.py": file}}


@pytest.mark.parametrize(("lines", "branches", "status"), [(97, 92, 0), (96, 100, 1), (100, 91, 1)])
def test_both_shares_are_printed_and_held(lines: int, branches: int, status: int, tmp_path, capsys) -> None:
    path = tmp_path / "coverage.json"
    path.write_text(json.dumps(counted(lines, branches)))
    assert coverage.main(str(path)) == status
    told = capsys.readouterr().out
    assert f"coverage: {lines}.0 % of the lines, {branches}.0 % of the branches" in told
    assert "gradxform/a.py: lines [7, 9], branches [[7, 9]]" in told
