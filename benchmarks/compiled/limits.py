"""What a few rows may cost on an H100: those that `make test` compiles, where the environment for it stands."""

from __future__ import annotations

LIMITS = {
    "adamw": (7.0, 0.1),
    "sgd": (3.0, 0.1),
    "momentum": (5.0, 0.1),
    "lion": (5.0, 0.1),
    "lars": (7.0, 0.1),
    "clip + adamw": (8.0, 0.1),
    "adamw, mu in bf16": (6.0, 0.1),
}
"""Passes, and temporaries in %."""

TREE = {"embed": (32768, 1024), "h/fc": (1024, 4096), "h/norm": (1024,)}
"""In these rows, as fewer kernels are compiled faster."""
