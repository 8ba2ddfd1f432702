from benchmarks import mutants

DEAD = {"module": "core/a.py", "line": 3, "outcome": "killed", "change": ["-x + 1", "+x - 1"]}
ALIVE = {"module": "core/b.py", "line": 5, "outcome": "survived", "change": ["-    a | b", "+    a & b"]}


def test_the_nearest_tests_try_a_mutant_first() -> None:
    first, second, third = mutants.command("gradxform/core/norms.py").split(" && ")
    assert first.endswith("tests/core/test_norms.py")
    assert second.endswith("tests/core")
    assert "tests/laws/test_fixed_point.py" in third
    assert all((mutants.ROOT / f"tests/laws/{law}.py").exists() for law in mutants.LAWS)


def test_what_survives_is_listed_with_its_reason() -> None:
    page = mutants.page([DEAD, ALIVE | {"why": "sets are never both"}, DEAD, {**DEAD, "outcome": "incompetent"}])
    assert "2 of 3 are caught: 66.7 %." in page
    assert "| core/b.py:5 | `a \\| b` -> `a & b` | sets are never both |" in page
