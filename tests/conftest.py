"""Settings that must stand before JAX is imported, and those of hypothesis."""

from __future__ import annotations

import gc
import itertools
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

FLAGS = ["--xla_force_host_platform_device_count=8", "--xla_backend_optimization_level=1"]
"""LLVM's first level: the same kernels of the same program, in two thirds of the time to compile."""
if version("jaxlib").startswith(("0.7.", "0.10.")):
    # The same optimized program, with its kernels written as one module by XLA's older emitters: a fifth of the time
    # to compile. The newest JAX, which does not know the flags, writes kernels as users' do.
    FLAGS += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
os.environ["XLA_FLAGS"] = " ".join([*FLAGS, os.environ.get("XLA_FLAGS", "")])
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

MAPS, MANY_MAPS = Path("/proc/self/maps"), 12_000
turns = itertools.count(1)


def entry_of(item: Any) -> str:
    """The entry of the catalogue that a test runs on; nothing for the tests that run on none."""
    given = item.callspec.params.get("entry") if hasattr(item, "callspec") else None
    return getattr(given, "name", "")


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Entry by entry instead of law by law: one worker compiles the program of an entry, for all laws."""
    place: dict[str, int] = {}
    for item in items:
        place.setdefault(entry_of(item), len(place))
    items.sort(key=lambda item: place[entry_of(item)])


def pytest_collection_finish() -> None:
    """Thousands of tests and all modules stay to the end: the collector need not look at them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_runtest_logfinish() -> None:
    """Drop compiled programs before they fill the memory, or the process's table of maps: Linux allows 65530."""
    if next(turns) % 50 == 0 and MAPS.exists() and MAPS.read_bytes().count(b"\n") > MANY_MAPS:
        jax.clear_caches()
        gc.collect()
