"""The state of any other entry is refused in words, unless it has the form of one's own; and `migrate` reads it."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.chain import Chain
from tests.catalogue import ENTRIES, Entry, entries, moved, tree


@functools.cache
def struct(entry: Entry) -> Any:
    return jax.eval_shape(entry.tx.init, tree(0))


def form(state: Any) -> Any:
    return jax.tree.structure(state), tuple((x.shape, x.dtype) for x in jax.tree.leaves(state))


def unlike() -> list[Entry]:
    """One entry for each form that a state has."""
    return list({form(struct(entry)): entry for entry in reversed(ENTRIES)}.values())


def asked(entry: Entry, state: Any) -> Any:
    return jax.eval_shape(entry.update, tree(1), state, tree(0))


FORMS = unlike()
SAMPLED = {"chain-tunables", "guard", "accumulate", "packed", "stored_as-codes", "adam", "groups", "sam"}
ALL = [
    pytest.param(e, id=name, marks=() if name in SAMPLED else pytest.mark.slow)
    for e in FORMS
    for name in [e.name.replace(" ", "-")]
]


@pytest.mark.parametrize("entry", ALL)
def test_a_state_of_another_form_is_refused(entry: Entry) -> None:
    """Of all pairs a sixth, the neighbours among them, whose names are alike."""
    mine, at = form(struct(entry)), FORMS.index(entry)
    for other in {*FORMS[at % 6 :: 6], *FORMS[max(at - 1, 0) : at + 2]}:
        state = struct(other)
        if form(state) == mine:
            asked(entry, state)
            continue
        with pytest.raises((ValueError, TypeError), match=r"gx\.migrate\(state, tx, params\)"):
            asked(entry, state)


@entries()
def test_a_state_of_the_same_form_is_taken(entry: Entry) -> None:
    same = next(other for other in FORMS if form(struct(other)) == form(struct(entry)))
    asked(entry, struct(same))


def arrays(state: Any) -> list[Any]:
    return [np.asarray(x) for x in jax.tree.leaves(state)]


def assert_same(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(arrays(a), arrays(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


@entries()
def test_migrating_to_itself_keeps_every_bit(entry: Entry) -> None:
    _, state, p = moved(entry.name)
    new, report = gx.migrate(state, entry.tx, p)
    assert_same(new, state)
    assert report.fresh == report.reencoded == report.dropped == ()


NEIGHBOURS: dict[str, Any] = {
    "a stage behind": lambda tx: gx.chain(tx, gx.trace(0.5)),
    "a stage of the tree in front": lambda tx: gx.chain(gx.clip_by_percentile(40.0, 4), tx),
    "a guard": lambda tx: gx.guard(tx, spike=6.0),
    "accumulation": lambda tx: gx.accumulate(tx, 2),
    "loss scale": lambda tx: gx.dynamic_loss_scale(tx),
    "guarded accumulation": lambda tx: gx.guard(gx.accumulate(tx, 2)),
}


SHORT = ("a stage behind", "a guard")


@pytest.mark.parametrize(
    "around",
    [
        pytest.param(name, id=name.replace(" ", "-"), marks=() if name in SHORT else pytest.mark.slow)
        for name in NEIGHBOURS
    ],
)
@entries(lambda e: isinstance(e.tx, Chain) and not e.axis and not any(rule.facts.unscales for _, rule in e.rules))
def test_migrating_to_a_neighbour_and_back_keeps_what_it_had(entry: Entry, around: str) -> None:
    _, state, p = moved(entry.name)
    tx = NEIGHBOURS[around](entry.tx)
    new, report = gx.migrate(state, tx, p)
    assert not report.dropped
    assert not report.reencoded
    assert_fresh(new, tx.init(p), report)
    jax.eval_shape(tx.update, tree(1), new, p, **entry.extra)
    back, report = gx.migrate(new, entry.tx, p)
    assert_same(back, state)
    assert report.fresh == report.reencoded == ()


def assert_fresh(new: Any, fresh: Any, report: Any) -> None:
    """What the report calls fresh is what `init` makes, and there is nothing else that differs from the old state."""
    assert jax.tree.structure(new) == jax.tree.structure(fresh)
    for name in report.fresh:
        path, _, place = name.rpartition(": ")
        if path:
            stage, field = place.rsplit("/", 1)
            ours, theirs = (gx.view(x, f"{stage}/{field}") for x in (new, fresh))
            for key in path.split("/"):
                ours, theirs = ours[key], theirs[key]
            np.testing.assert_array_equal(ours, theirs)


@entries()
def test_any_state_is_migrated_into_any_form_or_refused_for_its_corrections(entry: Entry) -> None:
    _, state, p = moved(entry.name)
    for other in (e for e in FORMS if e.name.replace(" ", "-") in SAMPLED):
        try:
            new, _ = gx.migrate(state, other.tx, p)
        except ValueError as error:
            assert "own_clock" in str(error)  # noqa: PT017 - many pairs in one test
            continue
        assert form(new) == form(struct(other))
        asked(other, new)
