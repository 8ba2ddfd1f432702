"""What is chosen by the kind of device is chosen where a program is lowered, under every transformation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.core.platforms import on_cpus, on_gpus

X = np.array([1.5, -2.0], np.float32)
CHOSEN = on_cpus("sine_on_cpu", lambda *xs: [jnp.sin(x) for x in xs], lambda *xs: [jnp.cos(x) for x in xs])
WHOLE = on_cpus("whole", lambda x: [x.astype(jnp.int32)], lambda x: [jnp.sign(x).astype(jnp.int32)], jnp.int32)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "rocm", "tpu"])
def test_a_program_has_what_its_platform_asks_for(platform: str) -> None:
    def f(x: jax.Array) -> jax.Array:
        (y,) = CHOSEN.bind(x)
        return on_gpus(jnp.exp, jnp.log, y)

    text = jax.jit(f).trace(X).lower(lowering_platforms=(platform,)).as_text()
    first = "sine" if platform == "cpu" else "cosine"
    second = "exponential" if platform in ("cuda", "rocm") else "log"
    assert [word for word in ("sine", "cosine", "exponential", "log") if f"stablehlo.{word} " in text] == [
        first,
        second,
    ]


def test_it_is_mapped_and_has_a_dtype_of_its_own() -> None:
    def f(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        return tuple(CHOSEN.bind(x, y))

    for transformed in (jax.jit, lambda f: f):
        a, b = transformed(jax.vmap(f, in_axes=(0, None), out_axes=(0, None)))(X, X)
        np.testing.assert_allclose([a, b], [np.sin(X)] * 2, rtol=1e-6)
        (whole,) = transformed(WHOLE.bind)(X)
        assert whole.dtype == jnp.int32
        np.testing.assert_array_equal(whole, [1, -2])
