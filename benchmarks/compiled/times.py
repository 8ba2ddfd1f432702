"""How long a step takes to trace and to compile: AdamW alone, clipped and guarded, and with its moments in 8 bits.

The nearest that optax has is `apply_if_finite` around a clipped AdamW; its first moment in bfloat16 stands for 8 bits.
"""

from __future__ import annotations

from typing import Any

from benchmarks import shapes
from benchmarks.compiled.compositions import ADAM, CLIPPED, CODES, NORM, clipped, codes, finite, narrow
from benchmarks.compiled.rows import Row, Shapes

REPEAT = {"gpt2-small": 3, "adapters": 1}
"""How often each is compiled, for a median; a thousand leaves take minutes."""


def guarded(library: Any) -> Any:
    return library.guard(clipped(library))


def coded(library: Any) -> Any:
    return library.guard(library.chain(library.clip_by_global_norm(1.0), codes()))


def nearest(library: Any) -> Any:
    return library.apply_if_finite(library.chain(library.clip_by_global_norm(1.0), narrow(library)), 3)


def of_tree(name: str, tree: Shapes) -> list[Row]:
    return [
        Row(f"{name}: adamw", lambda o: o.adamw(1e-3), ADAM, shapes=tree),
        Row(f"{name}: guard, clip, adamw", guarded, CLIPPED, NORM, shapes=tree, peer=finite),
        Row(f"{name}: guard, clip, int8, adamw", coded, CODES + ", again g", NORM, shapes=tree, peer=nearest),
    ]


ROWS = [*of_tree("gpt2-small", shapes.gpt2_small()), *of_tree("adapters", shapes.lora())]
