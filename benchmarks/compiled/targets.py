"""Devices to compile for that are not there. Import this before JAX."""

from __future__ import annotations

import math
import os
from typing import Any

PLATFORM = {"h100": "cuda", "v5e": "tpu"}
H100 = """gpu_device_info {
  cuda_compute_capability { major: 9 minor: 0 } core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  registers_per_core_limit: 65536 registers_per_block_limit: 65536 l2_cache_size: 52428800
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 device_memory_size: 84978565120 }
platform_name: "CUDA" dnn_version_info { major: 9 minor: 8 patch: 0 } runtime_version { major: 12 minor: 9 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""

# The process runs on the CPU: no device is looked for, and none is timed to choose kernels.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_autotune_level=0"
for key, value in {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no chip is held: several processes may compile at once
    "TF_CPP_MIN_LOG_LEVEL": "3",
}.items():
    os.environ.setdefault(key, value)


def devices(target: str, count: tuple[int, ...] = (1, 1)) -> list[Any]:
    """`count` of them, for a mesh of that shape."""
    from jax.experimental import topologies

    if target == "h100":
        kinds = {"target_config": H100, "topology": f"1x1x{math.prod(count)}"}  # slices x hosts x devices of a host
        return list(topologies.get_topology_desc("", "cuda", **kinds).devices)
    shape = "2x2" if math.prod(count) == 1 else "x".join(map(str, count))  # hosts of v5e have 2x2 chips at least
    return list(topologies.get_topology_desc(f"v5e:{shape}", "tpu").devices)[: math.prod(count)]
