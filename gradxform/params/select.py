"""Choosing parameters: small values that say which leaves, by path or by array."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gradxform.core import check
from gradxform.core.plain import got
from gradxform.core.tree import Leaf
from gradxform.core.types import Param, Params, Path, Where
from gradxform.core.value import Value


class Selector(Value):
    """Which parameters: combine with `&`, `|` and `~`; print it to see what it says."""

    def matches(self, path: Path, leaf: Param) -> bool:
        """Whether one leaf is chosen; `leaf` has shape, dtype and ndim."""
        raise NotImplementedError

    def written(self) -> tuple[Selector, ...]:
        """The parts that a user wrote with names in them, each of which must match something."""
        return ()

    def select(self, leaves: Sequence[Leaf], tree: Params) -> list[bool]:
        """One answer a leaf. Raises: ValueError if a name, pattern or prefix matches no path at all."""
        for part in self.written():
            if leaves and not any(part.matches(leaf.path, leaf.array) for leaf in leaves):
                paths = ", ".join(leaf.path for leaf in leaves)
                raise ValueError(f"{part!r} matches no parameter; the paths are: {paths}")
        return [leaf.array is not None and self.matches(leaf.path, leaf.array) for leaf in leaves]

    def __and__(self, other: Where) -> Selector:
        return All((self, selector(other)))

    def __or__(self, other: Where) -> Selector:
        return Either((self, selector(other)))

    def __invert__(self) -> Selector:
        return Not(self)


class All(Selector):
    parts: tuple[Selector, ...]

    def __repr__(self) -> str:
        return "(" + " & ".join(map(repr, self.parts)) + ")"

    def matches(self, path: Path, leaf: Param) -> bool:
        return all(part.matches(path, leaf) for part in self.parts)

    def written(self) -> tuple[Selector, ...]:
        return tuple(w for part in self.parts for w in part.written())


class Either(All):
    def __repr__(self) -> str:
        return "(" + " | ".join(map(repr, self.parts)) + ")"

    def matches(self, path: Path, leaf: Param) -> bool:
        return any(part.matches(path, leaf) for part in self.parts)


class Not(Selector):
    part: Selector

    def __repr__(self) -> str:
        return f"~{self.part!r}"

    def matches(self, path: Path, leaf: Param) -> bool:
        return not self.part.matches(path, leaf)

    def written(self) -> tuple[Selector, ...]:
        return self.part.written()


class Named(Selector):
    names: tuple[str, ...]

    def __repr__(self) -> str:
        return f"named({', '.join(map(repr, self.names))})"

    def matches(self, path: Path, leaf: Param) -> bool:
        return path.rsplit("/", 1)[-1] in self.names

    def written(self) -> tuple[Selector, ...]:
        return tuple(Named((name,)) for name in self.names)


class Matching(Selector):
    pattern: str

    def __repr__(self) -> str:
        return f"matching({self.pattern!r})"

    def matches(self, path: Path, leaf: Param) -> bool:
        return re.search(self.pattern, path) is not None

    def written(self) -> tuple[Selector, ...]:
        return (self,)


class Under(Selector):
    prefix: str

    def __repr__(self) -> str:
        return f"under({self.prefix!r})"

    def matches(self, path: Path, leaf: Param) -> bool:
        return path == self.prefix or path.startswith(self.prefix + "/")

    def written(self) -> tuple[Selector, ...]:
        return (self,)


class NdimAtLeast(Selector):
    ndim: int

    def __repr__(self) -> str:
        return f"ndim_at_least({self.ndim})"

    def matches(self, path: Path, leaf: Param) -> bool:
        return bool(leaf.ndim >= self.ndim)


class Ready(Selector):
    """A ready-made selector under its own name; it may match nothing."""

    name: str
    part: Selector

    def __repr__(self) -> str:
        return self.name

    def matches(self, path: Path, leaf: Param) -> bool:
        return self.part.matches(path, leaf)


class Weights(Selector):
    """No bias, and nothing of a normalisation."""

    def matches(self, path: Path, leaf: Param) -> bool:
        if BIAS_OR_NORM.search(path):
            return False
        *layers, name = re.split(r"[/.]", path)
        layer = next((x for x in reversed(layers) if not x.isdigit()), "")
        if (norm := NORM.search(layer)) and not LINEAR.search(layer, norm.end()):
            return name not in ("weight", "w", "g", "gain", "mean", "var", "variance")
        return not (name == "weight" and layers and layers[-1].isdigit() and leaf.ndim < 2)


BIAS_OR_NORM = re.compile(
    r"(^|[/_.])(beta|gamma|bias|scale|offset|(moving|running)_(mean|var|variance)|bias_[a-z]{1,2}(_l\d+)?(_reverse)?)$"
    r"|(^|[/.])b$"
)
"""Paths whose last name says it."""
NORM = re.compile(r"norm(?!al)|normali[sz]|(^|[^a-z])(ln|bn|gn|rms)([^a-z]|$)", re.IGNORECASE)
LINEAR = re.compile(r"dense|linear|conv|proj|embed|attn|attention|mlp", re.IGNORECASE)
"""What layers are called."""


class HiddenMatrices(Weights):
    """Weights of at least two axes between the first layer and the last, and no router's."""

    def matches(self, path: Path, leaf: Param) -> bool:
        if leaf.ndim < 2 or not super().matches(path, leaf):
            return False
        *layers, name = re.split(r"[/.]", path.lower())
        at_ends = any(ENDS.search(x) for x in (*layers, name)) or TABLE.search(name)
        last = next((x for x in reversed(layers) if not x.isdigit()), "")
        inside = any(re.search(r"\d|attn|attention|mlp|ffn|block|layer", x) for x in layers)
        routes = last == "gate" and any(re.search("moe|expert|sparse", x) for x in layers)
        return not (at_ends or routes or (last == "output" and not inside))


ENDS = re.compile(
    r"embed|^(wte|wpe|tok|pos|patch)$|(^|_)(un)?emb(_|$)|logits|readout|^predictions$|classifier|router|switch_gate"
    r"|^(?!.*(multi|attention|attn)_?head).*(^|_)head(_?\d+)?$"
)
"""What embeddings, heads and routers are called."""
TABLE = re.compile(r"^(cls|pe)$|tokens?$|^pos_|a_log$")
"""Arrays that are no maps: learnt tokens and positions, decays of a state."""


class Predicate(Selector):
    function: Callable[[Path, Any], bool]

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))

    def matches(self, path: Path, leaf: Param) -> bool:
        return bool(self.function(path, leaf))


class Paths(Selector):
    """Exactly these paths: what a tree of booleans says."""

    chosen: tuple[str, ...]

    def matches(self, path: Path, leaf: Param) -> bool:
        return path in self.chosen


def named(*names: str) -> Selector:
    """Parameters whose last name is one of `names`: `named("beta", "gamma")`.

    Each name must occur in the tree: one that matches no path is a ValueError that lists the paths.
    """
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"named takes names, {got(name)}")
    if not names:
        raise ValueError("named needs at least one name")
    return Named(names)


def matching(pattern: str) -> Selector:
    """Parameters whose path, names joined by `/`, contains a match of the regular expression (`re.search`).

    Raises: ValueError for a malformed pattern, or one that matches no path (the paths are listed).
    """
    if not isinstance(pattern, str):
        raise TypeError(f"matching takes a regular expression, {got(pattern)}")
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"matching got a malformed regular expression {pattern!r}: {error}") from None
    return Matching(pattern)


def under(prefix: str) -> Selector:
    """Parameters inside one part of the tree: `under("encoder/layer_0")`.

    Raises: ValueError if no path lies there (the paths are listed).
    """
    if not isinstance(prefix, str):
        raise TypeError(f"under takes a path, {got(prefix)}")
    return Under(prefix.strip("/"))


def ndim_at_least(ndim: int) -> Selector:
    """Parameters with at least `ndim` axes: `ndim_at_least(2)` leaves biases and normalisation alone by shape."""
    check.integer(0, ndim=ndim)
    return NdimAtLeast(ndim)


weights_only = Ready("weights_only", Weights())
"""Everything but biases and what belongs to a normalisation, by the names of flax, haiku, equinox, keras and torch:
`bias`, `b`, `beta`, `gamma`, `scale`, `offset`, moving averages, `bias_n` and its kin; and `weight` where the layer is
called a norm (`norm1`, `attention_norm`, `LayerNorm_0`, `ln_f`, `bn`, `rms`), or is one of a list and has a vector for
it. A name that says neither is a weight: leave more out with `&`, as in `weights_only & ~named("final")`."""

hidden_matrices = Ready("hidden_matrices", HiddenMatrices())
"""Weights of two axes or more between hidden layers, by the names of flax, haiku, equinox, nnx, maxtext and keras: no
biases, no normalisation, no embeddings (`embed`, `wte`, `token_embedder`, `pos_embedding`), no heads
(`lm_head`, `head`, `logits_dense`, `classifier`, an `output` outside of all blocks), no routers (`router`, `gate` of a
mixture). A last layer called `Dense_3` looks like any other: leave it out with `&`."""

mindspore_decayed = Ready("mindspore_decayed", Not(Matching("beta|gamma")))
"""MindSpore's decay filter: every path without the substring `beta` or `gamma`, inside other words too."""


def selector(where: Where, name: str = "where") -> Selector:
    """A selector from what users write: a selector, a string (`matching`), or a function `(path, leaf) -> bool`.

    Raises: TypeError for anything else.
    """
    if isinstance(where, Selector):
        return where
    if isinstance(where, str):
        return matching(where)
    if callable(where):
        return Predicate(where)
    raise TypeError(f"{name} must be a selector, a regular expression or a function (path, leaf) -> bool, {got(where)}")


def paths_selector(paths: Iterable[Path]) -> Selector:
    """Exactly the parameters with these paths."""
    return Paths(tuple(paths))
