"""What a rule asks for of its own leaf: the path, a random key of leaf and step, an array of an extra tree."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Annotated, Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core import check
from gradxform.core.donated import refuse_deleted
from gradxform.core.plain import got
from gradxform.core.schema import Field, schema
from gradxform.core.types import Array, Count, Path
from gradxform.core.value import Value

OwnKey = Annotated[Any, "key"]
"""A field that takes an integer or a JAX key; in `update` a key of leaf and step, in `init` of the leaf."""
SharedKey = Annotated[Any, "key", "shared"]
"""The same, where only a second stage of one name in a chain is told apart from the first."""
OwnPath = Annotated[str, "path"]
"""A field that holds the path of the leaf in `init` and `update`."""

OwnExtra = Annotated[Any, "extra"]
"""A field that holds the name of an extra argument of `update`, a tree like the parameters; in `update` its array for
the leaf, shaped like it, or None where it has none."""
OwnFigures = Annotated[Any, "extra", "figures"]
"""The same for arrays of other shapes."""

IMPL = "threefry2x32"
V = TypeVar("V", bound=Value)


class LeafKey(NamedTuple):
    """A key on its way to a leaf: as the user gave it, words of path and stage, and the step where there is one."""

    key: Any
    words: tuple[np.uint32, ...]
    t: Count = None

    def folded(self) -> Array:
        words = jnp.asarray(self.key).astype(jnp.uint32)
        key: Array = jax.random.wrap_key_data(
            words if words.ndim else jnp.stack([jnp.zeros_like(words), words]), impl=IMPL
        )
        for word in self.words if self.t is None else (*self.words, self.t):
            key = jax.random.fold_in(key, word)
        return key


def owned(rule: V, path: Path, stage: str, renamed: bool) -> V:
    """The rule with what its fields ask for of a leaf; stage: under which name it stands in its chain."""

    def own(key: Any, f: Field) -> LeafKey:
        return LeafKey(key, words_of(path) + (words_of(stage) if renamed or "shared" not in f.marks else ()))

    return _mapped(rule, own, path)


def at_step(rule: V, t: Count) -> V:
    """The rule at a step."""
    return _mapped(rule, lambda key, _: key._replace(t=t))


def drawn(rule: V) -> V:
    """The rule with the keys themselves, where they are data."""
    return _mapped(rule, lambda key, _: key.folded())


def handed(rule: V, extras: dict[str, Array]) -> V:
    """The rule with the leaf's arrays of extra trees, by name."""
    return _mapped(rule, lambda name, _: extras.get(name), mark="extra")


def extras_of(rule: Value) -> dict[str, bool]:
    """The names of the extra trees that a rule reads, and whether their arrays are shaped like the leaf."""
    names: dict[str, bool] = {}
    _mapped(rule, lambda name, f: names.update({name: "figures" not in f.marks}), mark="extra")
    return names


def own_arrays(rule: Value, mark: str) -> list[Any]:
    """The keys that a drawn rule draws with, or what it was handed of extra trees; nothing before that."""
    arrays: list[Any] = []
    _mapped(rule, lambda x, _: arrays.append(x), mark=mark)
    return [x for x in arrays if not isinstance(x, str)]


def with_arrays(rule: V, arrays: Iterable[Any], mark: str) -> V:
    """The rule with others, in the order of `own_arrays`."""
    there = iter(arrays)
    return _mapped(rule, lambda x, _: next(there), mark=mark)


def _mapped(value: V, of: Callable[[Any, Field], Any], path: Path | None = None, mark: str = "key") -> V:
    fields: dict[str, Any] = {}
    for f in schema(type(value)):
        x = getattr(value, f.name)
        if mark in f.marks:
            fields[f.name] = of(x, f)
        elif "path" in f.marks and path is not None:
            fields[f.name] = path
        elif f.kind == "child" and isinstance(x, Value) and (new := _mapped(x, of, path, mark)) is not x:
            fields[f.name] = new
    return value.with_fields(**fields) if fields else value


def words_of(text: str) -> tuple[np.uint32, ...]:
    """What is folded into a key for a path or a name."""
    return tuple(np.frombuffer(hashlib.blake2b(text.encode(), digest_size=8).digest(), "<u4"))


def kept_key(name: str, x: Any) -> Any:
    """A key as it is kept: an integer, two words of 32 bits, or a tracer; never a typed key.

    Raises: TypeError for anything but an integer or a threefry key, ValueError if the integer is negative.
    """
    refuse_deleted(**{name: x})
    if isinstance(x, tuple):
        x = np.asarray(x)
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        if str(jax.random.key_impl(x)) != IMPL:
            raise TypeError(f"{name} must be a key of {IMPL}, got one of {jax.random.key_impl(x)}")
        x = jax.random.key_data(x)
    if not isinstance(x, jax.Array | np.ndarray):
        check.integer(at_most=2**64 - 1, **{name: x})
        n = int(x)
        return n if n < 2**31 else _signed([n >> 32, n])
    if not jnp.issubdtype(x.dtype, jnp.integer) or x.shape not in ((), (2,)):
        raise TypeError(f"{name} must be an integer or one JAX key, {got(x)}")
    if isinstance(x, jax.core.Tracer):
        return x
    return _signed(x) if x.ndim else kept_key(name, int(x))


def _signed(words: Iterable[Any]) -> tuple[int, ...]:
    """Words of 32 bits as the numbers that int32 holds, as every way through JAX takes them."""
    return tuple((int(word) + 2**31) % 2**32 - 2**31 for word in words)
