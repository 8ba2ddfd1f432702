"""Updates that each device computed a share of: parameters are moved share by share, and gathered instead of them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import NamedTuple

import jax

from gradxform.core.types import Array


class Share(NamedTuple):
    """What each device has of an update: its share, how that of another array is had, and the whole of shares."""

    update: Array
    of: Callable[[Array], Array]
    whole: Callable[[Array], Array]


_KNOWN: dict[int, tuple[weakref.ref[Array], Share]] = {}
"""By the identity of whole updates, while they are being traced: nothing in their type can say it."""


def share_of(x: object) -> Share | None:
    """What is known of the shares of an update."""
    return _KNOWN[id(x)][1] if id(x) in _KNOWN else None


def shared(x: Array, share: Share | None) -> Array:
    """The whole update, known by its share; arrays that are there are whole on every device already."""
    if share is not None and isinstance(x, jax.core.Tracer):
        key = id(x)
        _KNOWN[key] = weakref.ref(x, lambda _: _KNOWN.pop(key)), share
    return x


def laid_out(x: Array) -> Array:
    """The same update as it lies over devices, for sums over it: those of shares need no gathering."""
    share = share_of(x)
    return x if share is None or share.update.shape != x.shape else share.update


def by_element(f: Callable[[Array], Array], x: Array) -> Array:
    """`f(x)`, of an update's share too; f must look at one element at a time."""
    share = share_of(x)
    return shared(f(x), None if share is None else share._replace(update=f(share.update)))
