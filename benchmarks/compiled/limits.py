"""What a few rows may cost on an H100: those that `make test` compiles, where the environment for it stands."""

from __future__ import annotations

LIMITS = {
    "adamw": (7.0, 0.1),
    "sgd": (3.0, 0.1),
    "momentum": (5.0, 0.1),
    "lion": (5.0, 0.1),
    "nadamw": (7.0, 0.1),
    "adan": (11.0, 0.1),
    "lamb": (10.0, 0.1),
    "lars": (7.0, 0.1),
    "clip + adamw": (8.0, 0.1),
    "clip + adamw, bf16 gradients": (7.0, 0.1),
    "schedule_free_adamw": (7.0, 0.1),
    "adamw, mu in bf16": (6.0, 0.1),
    "stored bfloat16": (5.0, 0.1),
    "bf16, split16": (6.5, 0.1),
    "bf16, stochastic": (5.5, 0.3),
    "bf16, master_weights": (7.5, 0.1),
    "guard(spike)": (8.0, 0.1),
    "guard(spike, then zero)": (8.0, 0.1),
    "dynamic_loss_scale(adamw)": (8.0, 0.1),
    "measure(adamw, 3 norms)": (7.0, 0.1),
    "adamw + ema_of_params": (9.0, 0.1),
    "groups": (7.0, 0.1),
}
"""Passes, and temporaries in %."""

TREE = {"embed": (32768, 1024), "h/fc": (1024, 4096), "h/norm": (1024,)}
"""In these rows, as fewer kernels are compiled faster."""
