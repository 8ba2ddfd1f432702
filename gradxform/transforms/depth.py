"""Learning rates that fall with depth."""

from __future__ import annotations

from collections.abc import Sequence

from gradxform.core import check
from gradxform.core.chain import Chain
from gradxform.core.plain import got
from gradxform.core.types import Where
from gradxform.params.groups import groups
from gradxform.params.select import Selector
from gradxform.transforms.scale import scale


def layerwise_decay(decay: float, layers: Sequence[Where]) -> Chain:
    """Scale each layer's update by its distance from the output: `u = decayⁿ⁻¹⁻ⁱ · g` for layer i of n.

    Anywhere behind the direction. layers: from input to output, what chooses each layer's parameters (a selector, a
    regular expression or a function `(path, leaf) -> bool`); what no entry matches keeps its update.
    Reach: element. State: none.
    Raises: ValueError if decay is not in (0, 1], if there are no layers, or if a layer's names match nothing.
    Source: Clark et al. 2020, arXiv:2003.10555, section 3.1 (ELECTRA's layer-wise learning-rate decay).
    """
    entries = check.sequence("selectors", layers=layers)
    if not entries:
        raise ValueError(f"layers must have at least one entry, {got(layers)}")
    if isinstance(decay, bool) or not isinstance(decay, int | float):
        raise TypeError(f"decay must be a number, {got(decay)}")
    if not 0 < decay <= 1:
        raise ValueError(f"decay must be in (0, 1], got {decay}")
    last = len(entries) - 1
    for i, where in enumerate(entries):
        if not isinstance(where, str | Selector) and not callable(where):
            raise TypeError(f"layers[{i}] must be a selector, a regular expression or a function, {got(where)}")
    return groups([(where, scale(decay ** (last - i)), f"layer_{i}") for i, where in enumerate(entries)], Chain())
