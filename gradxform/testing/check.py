"""`check`: the laws on a rule or a transformation of one's own, answered in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core.chain import lift
from gradxform.core.rule import Rule
from gradxform.core.step import as_transformation
from gradxform.core.types import Params, Transformation
from gradxform.testing import alone, placed
from gradxform.testing.case import Case, DoesNotApplyError, first_line


class Report(NamedTuple):
    """Laws that hold, laws that do not apply and why, and faults with their remedies; prints as a list."""

    holds: tuple[str, ...]
    apart: tuple[str, ...]
    faults: tuple[str, ...]

    def __str__(self) -> str:
        parts = {"holds": self.holds, "does not apply": self.apart, "faults": self.faults}
        return "\n".join("\n  - ".join([f"{what}:", *lines]) for what, lines in parts.items() if lines)


FIRST = 2
"""Laws without which the others, which compare runs, say nothing."""
LAWS: dict[str, Callable[[Case], Iterator[str]]] = {
    "it compiles, and gives finite updates": alone.runs,
    "compiled, op by op and again it gives the same": alone.unjitted,
    "it looks as far as it says": alone.reach,
    "a step keeps the form of its state, in float32": alone.fixed_point,
    "no array is twice in its state": alone.one_array_once,
    "scan and vmap give what calls give": alone.scanned,
    "a gradient of 0 does no harm": alone.zero_gradient,
    f"a gradient of {alone.HUGE:g} does no harm": alone.huge_gradient,
    "a leaf that rests goes on where it stopped": alone.resting,
    "its facts are true": placed.told_facts,
    "packed it gives the same": placed.joined,
    "split over devices it gives the same": placed.split,
    "stored in bfloat16 and int8 it gives much the same": placed.stored,
    "states of others are refused": placed.foreign_states,
}


def check(rule_or_tx: Rule | Transformation, *, params: Params = None, extra: dict[str, Any] | None = None) -> Report:
    """Try the laws on a rule or a transformation, and say of each that fails what is wrong and what to write instead.

    In pytest: `def test_mine(): gx.testing.check(Mine())`. Laws: it looks as far as its `reach` says; compiled,
    op by op, scanned, vectorised, packed and split over devices it gives the same; its state keeps its form and refuses
    others; gradients of 0, of 1e15 and of None do no harm; what its facts claim is so.
    params: a tree of arrays or shapes to try it on, if not a matrix, a vector and a scalar. extra: what `update` takes
    beside the gradients; a `value`, and trees of an `OwnExtra`, are there.
    Raises: AssertionError with a sentence for every fault; TypeError for what is no rule and no transformation.
    """
    tx = lift(rule_or_tx) if isinstance(rule_or_tx, Rule) else as_transformation(rule_or_tx)
    if params is None:
        params = {"kernel": jnp.zeros((6, 4)), "other": jnp.zeros((4, 4))}
        if not any(rule.facts.matrix for rule in Case(tx, params, {}).rules):
            params |= {"bias": jnp.zeros(4), "scale": jnp.zeros(())}
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), params)
    case = Case(tx, shapes, {"value": 0.5} | (extra or {}))
    holds, apart, faults = [], [], []
    for law, sentences in LAWS.items():
        try:
            found = [*sentences(case)]
        except DoesNotApplyError as reason:
            apart.append(f"{law}: {reason}")
            continue
        except Exception as error:
            found = [f"{law}: {type(error).__name__}: {first_line(error)}"]
        holds += [] if found else [law]
        faults += found
        if faults and law in [*LAWS][:FIRST]:
            break
    report = Report(tuple(holds), tuple(apart), tuple(faults))
    if faults:
        raise AssertionError(
            "\n".join([f"{rule_or_tx!r} breaks {len(faults)} of the laws:", *(f"- {x}" for x in faults)])
        )
    return report
