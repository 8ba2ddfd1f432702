"""Whether a rule looks no farther than it says: tried on a few numbers, where a strategy goes by it."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.facts import Reach
from gradxform.core.hyper import Given, Tunable, evaluate, hyper_fields, replace_hyper
from gradxform.core.lens import layers
from gradxform.core.rule import Rule, TreeRule, new_memory
from gradxform.core.types import Array
from gradxform.core.value import Pair, is_hashable

SHAPE = (5, 3)


def looks_farther(rule: Rule) -> bool:
    """Whether a rule that says element or row gives an element another update beside other numbers, or elsewhere.

    Rules of this library have proofs of their reach; one that cannot be tried gets the benefit of the doubt.
    """
    inner = layers(rule)[-1]
    told = type(inner).__module__.partition(".")[0] == "gradxform" or inner.facts.reach > Reach.ROW
    if told or isinstance(inner, TreeRule) or not is_hashable(inner):
        return False
    return _tried(inner)


@functools.lru_cache(maxsize=1024)
def _tried(rule: Rule) -> bool:
    fields = {f: x.initial if isinstance(x, Tunable) else x for f, x in hyper_fields(rule).items()}
    if any(isinstance(x, Given | Pair) for x in fields.values()):
        return False
    rule = replace_hyper(rule, {f: evaluate(x, 0) for f, x in fields.items()})
    draw = np.random.default_rng(0).standard_normal
    with jax.ensure_compile_time_eval():
        shape = SHAPE if rule.facts.reach == Reach.ROW else SHAPE[:1]
        p, gs = jnp.asarray(draw(shape), jnp.float32), jnp.asarray(draw((2, *shape)), jnp.float32)
        try:
            u, beside = _last(rule, gs, p), _last(rule, gs.at[:, -1].mul(-7.0), p.at[-1].mul(-7.0))
            elsewhere = _last(rule, gs[:, ::-1], p[::-1])[::-1]
        except Exception:
            return False
        same = np.allclose(u[:-1], beside[:-1], 1e-5, 1e-6, True) and np.allclose(u, elsewhere, 1e-5, 1e-6, True)
        return not same


def _last(rule: Rule, gs: Array, p: Array) -> Array:
    """The last of some updates."""
    s = rule.init(p)
    u: Array = gs[0]
    for i, g in enumerate(gs):
        k = rule.scalars(jnp.int32(i + 1))
        u, s = rule.advance(g, [], s, p if rule.facts.needs_params else None, k, new_memory)
    return u
