"""What controls have counted, read from any state."""

from __future__ import annotations

import jax

from gradxform.control.accumulate import AccumulateState
from gradxform.control.guard import GuardState
from gradxform.control.loss_scale import LossScaleState
from gradxform.core.types import Array, OptState

FIGURES: dict[type, tuple[str, tuple[str, ...]]] = {
    LossScaleState: ("loss_scale", ("scale", "good", "skipped")),
    GuardState: ("guard", ("skipped", "nonfinite", "spikes", "consecutive", "last_skipped")),
    AccumulateState: ("accumulate", ("seen", "steps", "left_out")),
}


def counters(state: OptState) -> dict[str, Array]:
    """The counts and flags of loss scaling, guard and accumulate, flat by name: `{"guard/skipped": ...}`.

    From any state that holds them, wrapped or not, outermost first; the second of a kind is `guard_2`, and so on.
    Scalars as they are in the state; works inside `jit`.
    Raises: ValueError if there is none.
    """
    figures: dict[str, Array] = {}
    times: dict[str, int] = {}

    def read(node: OptState) -> None:
        for inner in jax.tree.leaves(node, is_leaf=lambda x: type(x) in FIGURES):
            if type(inner) in FIGURES:
                name, fields = FIGURES[type(inner)]
                times[name] = times.get(name, 0) + 1
                label = name if times[name] == 1 else f"{name}_{times[name]}"
                figures.update({f"{label}/{field}": getattr(inner, field) for field in fields})
                read(inner.inner)

    read(state)
    if not figures:
        raise ValueError("the state holds no counters; see guard, dynamic_loss_scale and accumulate")
    return figures
