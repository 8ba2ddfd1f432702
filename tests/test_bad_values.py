"""No value is taken for what it is not, and none is answered by an exception that is not the library's."""

from __future__ import annotations

import pytest

from tests.bad_values import BY_STEP, FINE, VALUES, Argument, every_argument, verdict

FUNCTIONS: dict[tuple[str, str], list[Argument]] = {}
for argument in every_argument():
    FUNCTIONS.setdefault((argument.module, argument.function.__name__), []).append(argument)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("arguments", FUNCTIONS.values(), ids=map(".".join, FUNCTIONS))
def test_each_value_is_meant_or_refused_in_words(arguments: list[Argument]) -> None:
    looked_at = set()
    for argument in arguments:
        labels = {*VALUES}
        if argument.meant.later >= BY_STEP and looked_at:
            labels -= BY_STEP
        if argument.meant.later >= BY_STEP:
            looked_at.add(argument.name)
        wrong = {label: said for label in labels if (said := verdict(argument, label)) not in FINE}
        assert wrong == {}, argument


def test_the_table_is_whole() -> None:
    assert len(FUNCTIONS) > 230
    assert sum(map(len, FUNCTIONS.values())) > 1000
    assert len(VALUES) > 60
