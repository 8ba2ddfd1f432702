"""Refusals when a class of rules is made: each says what is wrong, and what to write instead."""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING

from gradxform.core.facts import Facts
from gradxform.core.plain import got

if TYPE_CHECKING:
    from gradxform.core.rule import Rule

KINDS = {
    "factor": "Factor",
    "remember": "Halves",
    "emit": "Halves",
    "measure": "TreeRule",
    "init_tree": "TreeRule",
    "read": "Lens",
    "write": "Lens",
}
"""Methods by which a kind is known."""

PROTOCOL = (
    *(
        "name",
        "facts",
        "remembers",
        "corrects",
        "check",
        "init",
        "scalars",
        "update",
        "update_rows",
        "advance",
        "evaluate",
        "for_leaf",
    ),
    *("selectors", *KINDS),
)


def refuse_class(cls: type[Rule]) -> None:
    """Raises: TypeError for a class that would not do what it says."""
    name = cls.__name__
    for base in cls.__bases__:
        if not getattr(base, "abstract", True):
            raise TypeError(
                f"{name} subclasses {base.__name__}, which is final: write a rule of its own, or a Wrapper around it"
            )
    for maker, instead in {"__init__": "annotate its fields", "__post_init__": "write check"}.items():
        if maker in vars(cls):
            raise TypeError(f"{name} has {maker}, and all rules are made in one way: {instead} instead")
    for said in [x for x in vars(cls) if not x.startswith("_")]:
        _refuse_name(cls, said)
    if not cls.abstract:
        missing = [x for x in PROTOCOL if getattr(getattr(cls, x, None), "__isabstractmethod__", False)]
        if missing:
            kind = next(base.__name__ for base in cls.__mro__ if missing[0] in vars(base))
            raise TypeError(f"{name} is a {kind} and has no {' and no '.join(missing)}")
    _refuse_facts(cls)


def _refuse_name(cls: type[Rule], said: str) -> None:
    name, inherited = cls.__name__, [base for base in cls.__mro__[1:] if said in vars(base)]
    for base in inherited:
        if getattr(vars(base)[said], "__final__", False):
            raise TypeError(
                f"{name} is a {base.__name__}, and its {said} follows from its other methods; "
                "subclass Rule to write update out"
            )
    if inherited or said in vars(cls).get("__annotations__", {}):
        return
    if said in {f.name for f in dataclasses.fields(Facts)}:
        raise TypeError(f"{name}: {said} is a fact, write facts = Facts({said}=...)")
    if said in KINDS and cls.abstract:
        return
    if said in KINDS:
        raise TypeError(f"{name} has {said}, the method of another kind: write class {name}({KINDS[said]})")
    near = difflib.get_close_matches(said, PROTOCOL, 1, 0.8)
    if near:
        raise TypeError(f"{name} has {said}, which nobody calls: is {near[0]} meant?")


def _refuse_facts(cls: type[Rule]) -> None:
    facts: object = cls.facts
    if isinstance(facts, property):
        return
    if not isinstance(facts, Facts):
        raise TypeError(f"{cls.__name__}: facts must be Facts(...), {got(facts)}")
