"""The page has every public name of optax, as it is here."""

from __future__ import annotations

from benchmarks import optax_names


def test_the_page_is_of_today() -> None:
    assert optax_names.PAGE.read_text() == optax_names.written(), "run `python -m benchmarks.optax_names`"


def test_no_name_is_without_an_answer() -> None:
    found = optax_names.rows()
    assert len(found) > 370
    silent = [name for name, how, natively in found if not natively and not how.startswith("optax's ")]
    assert not silent
