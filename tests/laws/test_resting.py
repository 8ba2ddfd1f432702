"""Leaves that rest: one whose gradient is None at some steps goes on as if those steps had never been, or is refused.

The reference is the same transformation, as it stands in the catalogue, at the other steps alone.
"""

from __future__ import annotations

from itertools import repeat
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.chain import Chain
from gradxform.core.hyper import Schedule, Tunable, evaluate, hyper_fields, replace_hyper
from gradxform.core.keys import with_arrays
from gradxform.core.lens import layers
from gradxform.core.rule import TreeRule
from gradxform.optimizers.sophia import ScaleBySophia
from gradxform.transforms.average import EmaOfParams
from gradxform.transforms.noise import Noisy
from gradxform.transforms.round import RoundRandomly
from tests.catalogue import ENTRIES, Entry, Searched, entries, moved, tree

STEPS, RESTS = 7, (2, 3, 5)
REFUSED = r"gradient of 'dense/kernel' is None, and \w+ corrects .*gx\.freeze\(.*"


def without_kernel(g: Any) -> Any:
    return g | {"dense": g["dense"] | {"kernel": None}}


def counting(tx: Any) -> Any:
    """The transformation with clocks for its leaves, inside what is not made of rules."""
    if isinstance(tx, Searched) or not isinstance(tx, Chain):
        return tx.with_fields(inner=counting(tx.inner))
    stages = [Chain((s,)) if s.wrapped is None else s.with_fields(inner=counting(s.wrapped)) for s in tx.stages]
    return gx.chain(*(gx.own_clock(s) if isinstance(s, Chain) else Chain((s,)) for s in stages))


def trajectory(entry: Entry, tx: Any, steps: Any, rests: Any = ()) -> list[Any]:
    """The kernel behind each of the steps at which it has a gradient, and the average that is read at the end."""
    p, kernels = tree(0), []
    state = tx.init(p)
    with jax.disable_jit():
        for t in steps:
            g = tree(10 + t)
            updates, state = tx.update(without_kernel(g) if t in rests else g, state, p, **entry.extra)
            p = gx.apply_updates(p, updates)
            kernels += [] if t in rests else [p["dense"]["kernel"]]
        return [*kernels, gx.eval_params(tx, state, p)["dense"]["kernel"]]


def alone(entry: Entry) -> bool:
    """Whether the kernel's steps follow from its own gradients, at rates that do not change.

    A restart is of all leaves, and what is drawn is of the chain's step.
    """
    far = any(isinstance(rule, TreeRule) for _, rule in entry.rules)
    far |= entry.function in ("lbfgs", "scale_by_lbfgs", "apollo")
    numbers = [x for _, rule in entry.rules for x in hyper_fields(rule).values()]
    rates = not any(isinstance(x, Schedule | Tunable) for x in numbers) and not entry.draws
    return not far and rates and entry.axis is None and entry.name != "lookahead restarted"


@entries(lambda e: e.correcting)
def test_it_is_refused_where_memory_is_corrected(entry: Entry) -> None:
    g, state, p = moved(entry.name)
    of_all = [rule.name for _, rule in entry.rules if rule.corrects and isinstance(layers(rule)[-1], TreeRule)]
    remedy = "give it zeros" if of_all else r"gx\.own_clock\(tx, where="
    for name in of_all:
        with pytest.raises(TypeError, match=f"own_clock counts for each parameter, and {name} measures all .* zeros"):
            gx.own_clock(getattr(entry.tx, "inner", entry.tx))
    for update in (entry.update, jax.jit(entry.update)):
        with pytest.raises(ValueError, match=REFUSED + remedy):
            update(without_kernel(g), state, p)


@entries(lambda e: not e.correcting and alone(e))
def test_it_goes_on_where_it_stopped_without_corrections(entry: Entry) -> None:
    expected = trajectory(entry, entry.tx, [t for t in range(STEPS) if t not in RESTS])
    for a, b in zip(trajectory(entry, entry.tx, range(STEPS), RESTS), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@entries(lambda e: e.correcting and alone(e) and e.function != "packed")
def test_it_goes_on_where_it_stopped_with_a_clock_of_its_own(entry: Entry) -> None:
    expected = trajectory(entry, entry.tx, [t for t in range(STEPS) if t not in RESTS])
    for a, b in zip(trajectory(entry, counting(entry.tx), range(STEPS), RESTS), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


RULES = {(type(rule), rule.corrects): rule for e in ENTRIES for _, r in e.rules if (rule := layers(r)[-1]).remembers}


APART = TreeRule | ScaleBySophia
"""Whose scalars are measured, or say at which steps an estimate is read."""


@pytest.mark.parametrize("rule", [r for r in RULES.values() if not isinstance(r, APART)], ids=repr)
def test_a_rule_corrects_where_its_scalars_change_with_the_step(rule: Any) -> None:
    """Draws change with the step too, and are not read by it; until a tail begins its mean is the parameter itself."""
    numbers = {f: evaluate(x, 0) for f, x in hyper_fields(rule).items() if isinstance(x, Schedule)}
    now, extra = replace_hyper(rule, numbers), dict.fromkeys(rule.facts.needs, 1.0)
    now = with_arrays(now, repeat(jax.random.key(0)), "key")
    first, third, last = (now.scalars(jnp.int32(t), **extra) for t in (1, 3, 100))
    same = jax.tree.all(jax.tree.map(lambda a, b, c: bool(a == b) and bool(b == c), first, third, last))
    of_the_tail = isinstance(rule, EmaOfParams) and not rule.debias
    assert rule.corrects == (not same and not of_the_tail and not isinstance(rule, Noisy | RoundRandomly))
