"""How long a step takes to trace and to compile: guarded, clipped AdamW with moments in 8 bits, beside plain AdamW.

The nearest that optax has is `apply_if_finite` around a clipped AdamW with its first moment in bfloat16.
"""

from __future__ import annotations

from typing import Any

import gradxform as gx
from benchmarks import shapes
from benchmarks.compiled.compositions import ADAM, CODES, NORM, codes, narrow
from benchmarks.compiled.rows import Row

REPEAT = {"gpt2-small": 5, "adapters": 3}
"""How often each is compiled, for a median."""
TREES = {"gpt2-small": shapes.gpt2_small(), "adapters": shapes.lora()}


def ours(library: Any) -> Any:
    return gx.guard(gx.chain(gx.clip_by_global_norm(1.0), codes()))


def nearest(library: Any) -> Any:
    return library.apply_if_finite(library.chain(library.clip_by_global_norm(1.0), narrow(library)), 3)


ROWS = [
    row
    for name, tree in TREES.items()
    for row in (
        Row(f"{name}: adamw", lambda o: o.adamw(1e-3), ADAM, shapes=tree),
        Row(f"{name}: guard, clip, int8, adamw", ours, CODES + ", again g", NORM, shapes=tree, peer=nearest),
    )
]
