"""What is known of a rule without running it."""

from __future__ import annotations

import itertools

import pytest

import gradxform as gx


def test_reaches_and_stations_are_in_order() -> None:
    """`chain` takes the farthest reach, and refusals ask what stands before the step and what behind it."""
    assert [*gx.Reach] == sorted(gx.Reach)
    assert all(a < b for a, b in itertools.pairwise(gx.Reach))
    assert [r.name for r in gx.Reach] == ["ELEMENT", "ROW", "ARRAY", "TREE"]
    assert [s.name for s in sorted(gx.Station)] == ["CLEANSE", "DIRECT", "DECAY", "STEP", "LAND"]


def test_a_plain_rule_looks_at_one_element_and_needs_nothing() -> None:
    facts = gx.Facts()
    assert facts.reach == gx.Reach.ELEMENT
    assert facts.station is None
    assert facts.needs == ()
    flags = (facts.needs_params, facts.real_only, facts.keeps_zero, facts.stored_params, facts.per_example)
    assert not any(flags)


def test_others_are_made_from_them_and_they_compare_by_value() -> None:
    facts = gx.Facts(reach=gx.Reach.ROW, needs=("value",))
    farther = facts.with_fields(reach=gx.Reach.ARRAY)
    assert farther == gx.Facts(reach=gx.Reach.ARRAY, needs=("value",)) != facts
    assert hash(farther) == hash(gx.Facts(gx.Reach.ARRAY, needs=("value",)))


def test_a_misspelt_fact_is_refused_with_those_that_exist() -> None:
    with pytest.raises(TypeError, match="facts got an unexpected argument 'keep_zero'; it takes reach, station, ") as e:
        gx.Facts(keep_zero=True)
    assert "keeps_zero" in str(e.value)
