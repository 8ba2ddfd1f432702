"""Complex parameters as torch has them: each a pair of real numbers, with statistics of their own."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gradxform.compat.common.overflows import clocked
from gradxform.core.chain import Chain
from gradxform.core.facts import Facts
from gradxform.core.lens import Lens
from gradxform.core.rows import Rows
from gradxform.core.rule import Keep, Rule, scaled
from gradxform.core.types import Array, Factors, Gradient, Memory, Param, Path, Scalars, Shaped


class Parts(Lens):
    """A rule of single elements that sees real and imaginary part apart, as `torch.view_as_real` gives them.

    Its memory is complex where the parameter is.
    """

    def __repr__(self) -> str:
        return repr(self.rule)

    @property
    def facts(self) -> Facts:
        return self.rule.facts.with_fields(real_only=False)

    def for_leaf(self, path: Path, p: Array) -> Rule:
        return super().for_leaf(path, p) if jnp.iscomplexobj(p) else self.rule.for_leaf(path, p)

    def init(self, p: Array) -> Memory:
        if not jnp.iscomplexobj(p):
            return self.rule.init(p)
        both = _apart(p)
        return jax.tree.map(lambda x: _joined(x) if x.shape == both.shape else x, self.rule.init(both))

    def read(self, s: Memory, g: Shaped) -> Memory:
        return jax.tree.map(lambda x: _apart(x) if jnp.iscomplexobj(x) else x, s)

    def write(self, new: Memory, s: Memory, k: Scalars) -> Memory:
        return jax.tree.map(lambda x, old: _joined(x) if jnp.iscomplexobj(old) else x, new, s)

    def advance(
        self, g: Array | Rows, factors: Factors, s: Memory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Gradient, Memory]:
        if not any(map(jnp.iscomplexobj, jax.tree.leaves((g, s)))):
            return self.rule.advance(g, factors, s, p, k, keep)
        pair = None if p is None else _apart(p)
        u, kept = super().advance(_apart(scaled(g, factors)), [], s, pair, k, keep)
        return _joined(u), kept


def _apart(x: Gradient) -> Any:
    """Real and imaginary part along a new last axis."""
    if isinstance(x, Rows):
        return Rows(x.indices, _apart(x.values), (*x.shape, 2))
    return jnp.stack([jnp.real(x), jnp.imag(x)], axis=-1)


def _joined(x: Gradient) -> Any:
    if isinstance(x, Rows):
        return Rows(x.indices, _joined(x.values), x.shape[:-1])
    return jax.lax.complex(x[..., 0], x[..., 1])


def apart(rule: Rule) -> Chain:
    """torch's rule of single elements as a stage, for real and for complex parameters."""
    return clocked(Parts(rule))
