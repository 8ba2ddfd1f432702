"""What the compiler at hand can do."""

import jax
import jax.numpy as jnp
import pytest

FAST = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""Options of `jit` for programs whose time and last bits nobody looks at: half of the time to compile."""


def _sums_read_what_they_add() -> bool:
    x = jnp.ones((300, 400))
    memory = jax.jit(lambda x: jnp.sum(x * x)).lower(x).compile().memory_analysis()
    return bool(memory.temp_size_in_bytes < x.nbytes / 2)


sums_in_place = pytest.mark.skipif(
    not _sums_read_what_they_add(), reason="this XLA writes x * x to memory for jnp.sum(x * x)"
)
