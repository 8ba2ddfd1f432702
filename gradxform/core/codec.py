"""Memory kept in another dtype than the one computed in."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from gradxform.core.arithmetic import real_dtype
from gradxform.core.rule import Rule, Wrapper


class Cast:
    """A codec: keep an array in a narrower dtype."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = jnp.dtype(dtype)
        if not jnp.issubdtype(self.dtype, jnp.inexact):
            raise TypeError(f"statistics are kept in a floating dtype, got {self.dtype}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cast) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash((Cast, self.dtype))

    def __repr__(self) -> str:
        return repr(self.dtype.name)

    def encode(self, x: Any) -> Any:
        if jnp.iscomplexobj(x) and not jnp.issubdtype(self.dtype, jnp.complexfloating):
            raise ValueError(f"a statistic of dtype {x.dtype} would lose its imaginary part in {self.dtype}")
        return x.astype(self.dtype)

    def decode(self, x: Any, wide: Any) -> Any:
        return x.astype(jnp.promote_types(self.dtype, wide))


class Stored(Wrapper):
    """A rule whose memory is kept encoded, field by field; the rule itself never knows."""

    codecs: tuple[tuple[str, Any], ...] = ()

    def __repr__(self) -> str:
        return f"{self.rule!r}.stored({', '.join(f'{f}={c!r}' for f, c in self.codecs)})"

    def init(self, p: Any) -> Any:
        s = self.rule.init(p)
        return None if s is None else self._encode(s)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        u, s = self.rule.update(g, self._decode(s, real_dtype(g.dtype)), p, k)
        return u, self._encode(s)

    def evaluate(self, p: Any, s: Any, t: Any) -> Any:
        return self.rule.evaluate(p, self._decode(s, real_dtype(p.dtype)), t)

    def _decode(self, s: Any, wide: Any) -> Any:
        return s._replace(**{f: c.decode(getattr(s, f), wide) for f, c in self.codecs if f in s._fields})

    def _encode(self, s: Any) -> Any:
        return s._replace(**{f: c.encode(getattr(s, f)) for f, c in self.codecs if f in s._fields})


def stored_in(rule: Rule, **dtypes: Any) -> Rule:
    """The rule with some fields of its memory cast to other dtypes; unchanged where all are None."""
    codecs = tuple((field, Cast(dtype)) for field, dtype in dtypes.items() if dtype is not None)
    return Stored(rule, codecs) if codecs else rule
