"""A class of rules that would not do what it says is refused when it is made, in a sentence."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import pytest

import gradxform as gx
from gradxform.core.lens import Lens, Wrapper
from gradxform.transforms.scale import Scale


def refused(match: str) -> Any:
    return pytest.raises(TypeError, match=match)


def same(self: Any, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
    return g, s


def test_a_final_class_has_no_subclass() -> None:
    with refused("Twice subclasses Scale, which is final: write a rule of its own, or a Wrapper around it"):
        type("Twice", (Scale,), {"update": same})


@pytest.mark.parametrize(("kind", "methods", "said"), [
    (gx.Factor, {"factor": same, "update": same}, "update"),
    (gx.Halves, {"remember": same, "emit": same, "update": same}, "update"),
    (gx.Halves, {"remember": same, "emit": same, "advance": same}, "advance"),
])  # fmt: skip
def test_what_follows_from_a_kinds_methods_is_not_written_out(kind: type, methods: Any, said: str) -> None:
    with refused(f"Mine is a {kind.__name__}, and its {said} follows from its other methods; subclass Rule"):
        type("Mine", (kind,), methods)


@pytest.mark.parametrize(("kind", "methods", "missing"), [
    (gx.Rule, {}, "a Rule and has no update"),
    (gx.Factor, {}, "a Factor and has no factor"),
    (gx.Halves, {"remember": same}, "a Halves and has no emit"),
    (gx.Halves, {}, "a Halves and has no remember and no emit"),
    (gx.TreeRule, {"update": same}, "a TreeRule and has no measure"),
    (Lens, {"read": same}, "a Lens and has no write"),
])  # fmt: skip
def test_a_forgotten_method_is_named(kind: type, methods: Any, missing: str) -> None:
    with refused(f"Mine is {missing}"):
        type("Mine", (kind,), methods)


@pytest.mark.parametrize(("said", "meant"), [
    ("updates", "update"), ("scalar", "scalars"), ("evalute", "evaluate"), ("fact", "facts"),
])  # fmt: skip
def test_a_misspelt_name_is_refused_with_the_one_that_is_meant(said: str, meant: str) -> None:
    with refused(f"Mine has {said}, which nobody calls: is {meant} meant?"):
        type("Mine", (gx.Rule,), {"update": same, said: same})


@pytest.mark.parametrize(("method", "kind"), [("factor", "Factor"), ("remember", "Halves"), ("measure", "TreeRule")])
def test_a_method_of_another_kind_is_refused(method: str, kind: str) -> None:
    with refused(rf"Mine has {method}, the method of another kind: write class Mine\({kind}\)"):
        type("Mine", (gx.Rule,), {"update": same, method: same})


def test_a_fact_stands_in_facts() -> None:
    with refused(r"Mine: reach is a fact, write facts = Facts\(reach=\.\.\.\)"):
        type("Mine", (gx.Rule,), {"update": same, "reach": gx.Reach.ROW})
    with refused("Mine: facts must be Facts"):
        type("Mine", (gx.Rule,), {"update": same, "facts": {"reach": gx.Reach.ROW}})


def test_an_abstract_class_makes_no_rule() -> None:
    class Penalty(gx.Rule, abstract=True):
        weight: gx.Hyper = 0.1

    with refused("Penalty is abstract"):
        Penalty()

    class Ridge(Penalty):
        facts = gx.Facts(needs_params=True)

        def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
            return g + self.weight * p, s

    p = jnp.array([2.0])
    assert gx.lift(Ridge(0.5)).update(jnp.zeros(1), gx.lift(Ridge(0.5)).init(p), p)[0] == 1.0


def test_helpers_of_other_names_are_a_rules_own_business() -> None:
    class Mine(gx.Rule):
        limit: gx.Hyper = 1.0

        def bounded(self, g: Any) -> Any:
            return jnp.minimum(g, self.limit)

        def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
            return self.bounded(g), s

    assert gx.lift(Mine()).update(jnp.array([3.0]), gx.lift(Mine()).init(jnp.ones(1)))[0] == 1.0


def test_a_wrapper_has_every_fact_of_the_rule_inside() -> None:
    facts = gx.Facts(
        reach=gx.Reach.ARRAY, station=gx.Station.LAND, needs_params=True, needs=("value",), real_only=True,
        keeps_zero=True, cheap=True, decay_rates=("b",), monotone=True, stored_params=True, per_example=True,
    )  # fmt: skip
    rule = type("Mine", (gx.Rule,), {"update": same, "facts": facts})()
    around = type("Around", (Wrapper,), {})(rule)
    assert around.facts == facts
    assert around.name == "mine"
    assert all(getattr(facts, f) != getattr(gx.Facts(), f) for f in ("reach", "cheap", "monotone", "per_example"))


@pytest.mark.parametrize(("maker", "instead"), [("__init__", "annotate its fields"), ("__post_init__", "write check")])
def test_all_rules_are_made_in_one_way(maker: str, instead: str) -> None:
    with refused(f"Mine has {maker}, and all rules are made in one way: {instead} instead"):
        type("Mine", (gx.Rule,), {"update": same, maker: lambda self: None})
