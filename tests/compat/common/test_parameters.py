"""Functions of a parameter, as users write them for a framework."""

from __future__ import annotations

import jax.numpy as jnp

from gradxform.compat.common.parameters import ByParameter

LEAVES = {"fc/w": jnp.ones((2, 3)), "fc/b": jnp.ones(3), "g": jnp.ones(2)}


def chosen(selector: ByParameter) -> set[str]:
    return {path for path, leaf in LEAVES.items() if selector.matches(path, leaf)}


def test_a_users_function_of_a_parameter() -> None:
    """It sees the path as a name, or an object with name, shape and dtype."""

    def short(name: str) -> bool:
        return len(name) < 2

    assert chosen(ByParameter(short, by_name=True)) == {"g"}
    assert chosen(ByParameter(lambda p: "b" in p.name or p.shape == (2,))) == {"fc/b", "g"}
    assert chosen(ByParameter(lambda p: p.dtype == jnp.int32)) == set()
    assert repr(ByParameter(short)) == "short"
