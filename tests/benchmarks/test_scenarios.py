"""The list of scenarios has a row for each, and says how many are right."""

from __future__ import annotations

import re
from types import SimpleNamespace

from benchmarks import scenarios

MODULE = SimpleNamespace(
    FAMILIES={"steps": lambda: iter([("a|b", ""), ("c", "off by 1"), ("d", "")])},
    DECIDED={"d": "a value has no object"},
)


def test_verdicts() -> None:
    rows = scenarios.verdicts(MODULE)
    assert [verdict for *_, verdict in rows] == ["right", "wrong: off by 1", "decided: a value has no object"]
    listed = scenarios.listed(rows)
    assert listed.startswith("1 of 3 are right, 1 decided otherwise, 1 wrong.")
    assert r"| steps | a\|b | right |" in listed


def test_the_page_counts_what_it_lists() -> None:
    """At least 98 in a hundred are right, and none is wrong."""
    found = re.findall(r"(\d+) of (\d+) are right, (\d+) decided otherwise, 0 wrong\.", scenarios.PAGE.read_text())
    assert found
    rows = sum(line.startswith("| ") and "---" not in line for line in scenarios.PAGE.read_text().splitlines())
    assert rows == sum(int(total) for _, total, _ in found) + len(found)
    assert all(int(right) + int(decided) == int(total) for right, total, decided in found)
    assert sum(int(right) for right, *_ in found) >= 0.98 * sum(int(total) for _, total, _ in found)
