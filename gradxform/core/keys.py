"""What a rule asks for of its own leaf: the path, and a random key of leaf and step."""

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
        return LeafKey(key, _words(path) + (_words(stage) if renamed or "shared" not in f.marks else ()))

    return _mapped(rule, own, path)


def at_step(rule: V, t: Count) -> V:
    """The rule at a step."""
    return _mapped(rule, lambda key, _: key._replace(t=t))


def drawn(rule: V) -> V:
    """The rule with the keys themselves, where they are data."""
    return _mapped(rule, lambda key, _: key.folded())


def keys_of(rule: Value) -> list[Array]:
    """The keys that a drawn rule draws with."""
    keys: list[Array] = []
    _mapped(rule, lambda key, _: keys.append(key))
    return keys


def with_keys(rule: V, keys: Iterable[Array]) -> V:
    """The rule with other keys, in the order of `keys_of`."""
    there = iter(keys)
    return _mapped(rule, lambda key, _: next(there))


def _mapped(value: V, of_key: Callable[[Any, Field], Any], path: Path | None = None) -> V:
    fields: dict[str, Any] = {}
    for f in schema(type(value)):
        x = getattr(value, f.name)
        if f.kind == "key":
            fields[f.name] = of_key(x, f)
        elif "path" in f.marks and path is not None:
            fields[f.name] = path
        elif f.kind == "child" and isinstance(x, Value) and (new := _mapped(x, of_key, path)) is not x:
            fields[f.name] = new
    return value.with_fields(**fields) if fields else value


def _words(text: str) -> tuple[np.uint32, ...]:
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
