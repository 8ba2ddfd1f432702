"""Settings that must stand before JAX is imported, and those of hypothesis."""

from __future__ import annotations

import gc
import itertools
import os
from pathlib import Path

DEVICES = "--xla_force_host_platform_device_count=8"
if DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DEVICES}".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
os.environ["MPLBACKEND"] = "agg"

import jax  # noqa: E402 - XLA reads its flags once
from hypothesis import HealthCheck, settings  # noqa: E402

settings.register_profile(
    "local", deadline=None, max_examples=20, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", parent=settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

MAPS, MANY_MAPS = Path("/proc/self/maps"), 20_000
turns = itertools.count(1)


def pytest_runtest_logfinish() -> None:
    """Drop compiled programs before they fill the process's table of memory maps: Linux allows 65530."""
    if next(turns) % 50 == 0 and MAPS.exists() and MAPS.read_bytes().count(b"\n") > MANY_MAPS:
        jax.clear_caches()
        gc.collect()
