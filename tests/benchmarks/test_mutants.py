import subprocess
import sys

import pytest

from benchmarks import mutants

DEAD = {"module": "core/a.py", "line": 3, "outcome": "killed", "change": ["-x + 1", "+x - 1"]}
ALIVE = {"module": "core/b.py", "line": 5, "outcome": "survived", "change": ["-    a | b", "+    a & b"]}


def test_the_nearest_tests_try_a_mutant_first() -> None:
    first, second = mutants.trials("gradxform/core/norms.py")
    assert first[-1] == "tests/core/test_norms.py"
    assert "tests/laws/test_fixed_point.py" in second
    assert all((mutants.ROOT / f"tests/laws/{law}.py").exists() for law in mutants.LAWS)


@pytest.mark.parametrize(
    ("body", "limit", "expected"),
    [
        ("pass", 60.0, "survived"),
        ("assert False", 60.0, "killed"),
        ("import os; os.abort()", 60.0, "killed"),
        ("import time; time.sleep(60)", 1.0, "hangs"),
    ],
)
def test_outcomes(tmp_path, body: str, limit: float, expected: str) -> None:
    """In a process of its own, as the worker's; none of it has begun to compute, so that it may fork."""
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {body}\n")
    code = f"""
from benchmarks import mutants
mutants.LIMIT = {limit}
mutants.trials = lambda module: [["-q", "-p", "no:cacheprovider", "-c", "/dev/null", {str(tmp_path)!r}]]
print(mutants.outcome("core/a.py"))
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=mutants.ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [expected]


def test_what_survives_is_listed_with_its_reason() -> None:
    others = [ALIVE | {"why": why} for why in ("the same: sets are never both", "caught by tests/core/test_a.py", "")]
    page = mutants.page([DEAD, *others, {**DEAD, "outcome": "hangs"}, {**DEAD, "outcome": "not made"}])
    assert "catch 2 of 5: 40.0 %.\nOf the others 1 are caught by other tests, 1 change nothing" in page
    assert "and\n1 are left." in page
    assert "| core/b.py:5 | `a \\| b` -> `a & b` | the same: sets are never both |" in page
