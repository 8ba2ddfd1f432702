"""Compositions over several devices: all whole, all split over "data" (FSDP), or the state split alone (ZeRO-1)."""

from __future__ import annotations

import functools
from typing import Any

import gradxform as gx
from benchmarks.compiled.compositions import (
    ADAM,
    CLIPPED,
    CODES,
    MADE_TWICE,
    NORM,
    PRODUCTS,
    WINDOW,
    clipped,
    codes,
    loss,
    matrices,
    narrow,
)
from benchmarks.compiled.measure import over
from benchmarks.compiled.rows import Row

SPLIT = functools.partial(Row, place="split")


def rows(mesh: Any) -> list[Row]:
    n = mesh.shape["data"]
    zero = f"g/{n} p/{n} mu/{n} nu/{n} -> mu/{n} nu/{n} p/{n}, again p/{n} -> p"
    """Each device reads its part of all, writes it, and gathers the parameters of all."""
    again = f", again g/{n}"

    def sharded(tx: Any) -> Any:
        return gx.sharded(tx, mesh, "data")

    at = over(mesh, "split")
    whole = matrices(12)
    lies = {key: at(shape) for key, shape in whole.items()}
    return [
        Row("whole: clip + adamw", clipped, CLIPPED, NORM),
        SPLIT("split: adamw", lambda o: o.adamw(1e-3), ADAM),
        SPLIT("split: clip + adamw", clipped, CLIPPED, NORM),
        SPLIT("split: lamb", lambda o: o.lamb(1e-3), "p g mu nu, again p mu nu -> p mu nu", "the norms come first"),
        SPLIT("split: guard(spike, clip + adamw)", lambda o: gx.guard(clipped(gx), spike=6.0), CLIPPED, NORM,
              extra=loss, peer=lambda o: o.apply_if_finite(clipped(o), 3)),
        SPLIT("split: accumulate(clip + adamw, 4)", lambda o: o.accumulate(clipped(o), 4),
              "3/4: g acc, again g -> acc + 1/4: p g acc mu nu, again g acc -> p acc mu nu", NORM, WINDOW, every=4),
        SPLIT("split: stored bfloat16", lambda o: o.stored_as("bfloat16", o.adamw(1e-3)),
              "p g mu/2 nu/2 -> p mu/2 nu/2", peer=narrow),
        SPLIT("split: stored int8", lambda o: codes(), CODES, left=MADE_TWICE, peer=None),
        SPLIT("split: bf16, split16", lambda o: gx.chain(clipped(gx), gx.round_updates("split16")),
              "p/2 g/2 low/2 mu nu, again g/2 -> p/2 low/2 mu nu", NORM, params="bfloat16", peer=None),
        Row("state split: sharded(adamw)", lambda o: sharded(gx.adamw(1e-3)), zero, place="state",
            peer=lambda o: o.adamw(1e-3)),
        Row("state split: sharded(clip + adamw)", lambda o: sharded(clipped(gx)), zero + again, NORM, place="state",
            peer=clipped),
        Row("state split: sharded(stored int8)", lambda o: sharded(codes()),
            f"g/{n} p/{n} mu/{4 * n} nu/{4 * n} -> mu/{4 * n} nu/{4 * n} p/{n}, again p/{n} -> p",
            left=MADE_TWICE, place="state", peer=None),
        SPLIT("split matrices: spread(muon)", lambda o: gx.spread(gx.muon(0.02), mesh, param_shardings=lies),
              "p g mu -> p mu", left=PRODUCTS, shapes=whole, peer=None),
    ]  # fmt: skip
