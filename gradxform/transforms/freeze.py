"""Frozen parameters: no update, no state."""

from __future__ import annotations

from gradxform.core.chain import Chain
from gradxform.core.lift import Freeze
from gradxform.core.types import Mask
from gradxform.params.masks import mask_selector


def freeze(mask: Mask = None) -> Chain:
    """Leave parameters alone: `u = 0`, and no stage of the chain sees them or keeps anything for them.

    Anywhere in a chain; frozen gradients do not count in its global norm either. As a member of `groups` it freezes
    the group, while stages before the groups still see its gradients.
    mask: a selector, a regular expression, a tree of booleans (True: frozen) or a function from params to one.
    Reach: element. State: none.
    Raises: ValueError if a name in the mask matches nothing, or a tree does not fit the parameters.
    """
    return Chain((Freeze(mask_selector(mask)),))
