"""What holds for every schedule: optax's numbers in double, its closed form, and that it is a value."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gradxform.schedules as schedules
from gradxform.core.hyper import Schedule

COUNTS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 19, 20, 21, 30, 49, 50, 51, 84, 85, 99, 100, 101, 107, 10**6]


@contextmanager
def double() -> Iterator[None]:
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)


def at(schedule: Callable[[Any], Any]) -> np.ndarray:
    return np.asarray(jax.jit(jax.vmap(schedule))(jnp.asarray(COUNTS)))


def made(cases: list[Any]) -> list[Schedule]:
    """The schedules of cases `(name, arguments)`."""
    return [getattr(schedules, name)(*args) for name, args in cases]


def names(schedule: Any) -> str:
    return schedule.public_name()


def equals_optax(name: str, args: Any) -> None:
    with double():
        ours, theirs = getattr(schedules, name)(*args), getattr(optax, name)(*args)
        expected = np.array([float(theirs(count)) for count in COUNTS])
        np.testing.assert_allclose(ours(np.asarray(COUNTS)), expected, rtol=1e-13, atol=1e-16)
    # optax itself is off by up to 5e-5 of a small value in float32, so double precision is the reference.
    np.testing.assert_allclose(ours(jnp.asarray(COUNTS)), expected, rtol=5e-7, atol=1e-12)


def has_the_signature_of_optax(name: str) -> None:
    def arguments(function: Any) -> list[Any]:
        return [(p.name, p.default) for p in inspect.signature(function).parameters.values()]

    assert arguments(getattr(schedules, name)) == arguments(getattr(optax, name))


def equals_its_closed_form(schedule: Schedule, formula: Callable[[int], float]) -> None:
    with double():
        expected = np.array([formula(count) for count in COUNTS])
        np.testing.assert_allclose(schedule(np.asarray(COUNTS)), expected, rtol=1e-12, atol=1e-100)
    # exp(-x) has the relative error of x, so 4e-7 x: values below 1e-30 are left to the line above.
    np.testing.assert_allclose(schedule(jnp.asarray(COUNTS)), expected, rtol=1e-6, atol=1e-30)


def is_a_value(schedule: Schedule) -> None:
    """It prints what makes it, and passes through `jit` and `vmap`."""
    again = eval(repr(schedule), vars(schedules))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert repr(again) == repr(schedule)
    counts = jnp.asarray(COUNTS[:-1])
    expected = np.asarray(schedule(counts))
    called = jax.jit(lambda s, c: s(c))
    # Numbers that arrive as data are rounded to float32 before they are used.
    np.testing.assert_allclose(called(schedule, counts), expected, rtol=5e-6, atol=1e-9)
    np.testing.assert_allclose(at(schedule)[:-1], expected, rtol=1e-6, atol=1e-9)
    value = schedule(jnp.int32(3))
    assert value.shape == ()
    assert value.dtype == jnp.float32
    assert not value.weak_type
    assert jnp.array_equal(jax.jit(schedule)(jnp.int32(3)), jax.jit(schedule)(3.0))
