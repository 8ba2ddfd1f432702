"""The floors of the catalogue's rows."""

from __future__ import annotations

import pytest

from benchmarks.compiled import catalogue
from benchmarks.compiled.rows import passes

ROWS = {row.name: row for row in catalogue.rows()}


def test_exceptions_are_entries() -> None:
    for names in (catalogue.AGAIN, catalogue.FLOORS, catalogue.LEFT):
        assert set(names) <= set(ROWS)
    assert not set(catalogue.AGAIN) & set(catalogue.FLOORS)


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("sgd", 3),  # p, g; p
        ("momentum", 5),  # and the trace, both ways
        ("lion", 4),  # and a momentum in bfloat16
        ("adamw", 7),
        ("chain clipped adamw", 8),  # and g again
        ("amsgrad", 9),
        ("lamb", 10),
        ("adan", 11),
        ("dpsgd", 12),  # p, the trace, four gradients twice; p, the trace
        ("stored_as codes", 6.5),  # g again for the largest in each block
        ("partition", 0.8 * 7 + 0.2 * 5),
        ("freeze", 0),
    ],
)
def test_floors_follow_from_states(name: str, by_hand: float) -> None:
    assert passes(ROWS[name].floor) == pytest.approx(by_hand, rel=2e-3)


@pytest.mark.parametrize(("name", "has"), [("adamw", True), ("lamb", True), ("guard", None), ("measure", None)])
def test_peers_are_found_by_their_names(name: str, has: bool | None) -> None:
    assert ROWS[name].peer is has
