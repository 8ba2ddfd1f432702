from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.core.plain import fitting, got, is_array, number_in, numbers_in, plain


@pytest.mark.parametrize(
    "x", [np.int32(3), np.uint8(3), np.asarray(3), jnp.int32(3), np.float32(0.5), jnp.bfloat16(0.5)]
)
def test_one_number_is_pythons(x):
    assert type(plain(x)) in (int, float)
    assert plain(x) == x
    assert plain((x, (x, "a"))) == (plain(x), (plain(x), "a"))


@pytest.mark.parametrize("x", ["a", None, [np.int32(3)], np.ones(2), np.True_, np.complex64(1j), True])
def test_the_rest_stays(x):
    assert plain(x) is x


def test_a_tracer_stays():
    seen = []
    jax.jit(lambda x: seen.append(plain(x) is x))(1.0)
    assert seen == [True]


def test_what_is_an_array():
    assert all(map(is_array, (np.ones(2), jnp.ones(()), np.float32(1.0))))
    assert not any(map(is_array, (1.0, [1.0], np.float32, jnp.float32, "a")))


def test_the_number_in_an_array():
    assert number_in("x", jnp.asarray(0.5)) == 0.5
    with pytest.raises(ValueError, match=r"x must be one number, got an array of shape \(1,\)"):
        number_in("x", np.ones(1))
    torch = pytest.importorskip("torch")
    assert number_in("x", torch.tensor(0.5)) == 0.5
    with pytest.raises(TypeError, match="x must be a number, got tensor"):
        number_in("x", torch.tensor(0.5, requires_grad=True))


def test_an_array_that_was_donated():
    x, several = jnp.ones(()), jnp.ones(2)
    x.delete()
    several.delete()
    assert plain(x) is x
    for read in (number_in, numbers_in):
        with pytest.raises(TypeError, match="x must hold numbers, got an array that was donated to an earlier step"):
            read("x", x)
    assert "was donated" in got(several)
    assert "does not print" in got([x])


def test_a_span_of_time_is_no_number():
    with pytest.raises(TypeError, match=r"x must be a number, .*timedelta64"):
        number_in("x", np.timedelta64(1, "s"))


def test_numbers_that_fit():
    assert [fitting("x", x) for x in (1, 0.5, 3.4e38, 1e-50, math.inf, -math.inf)] == [
        1.0,
        0.5,
        3.4e38,
        1e-50,
        math.inf,
        -math.inf,
    ]
    assert math.isnan(fitting("x", math.nan))
    for x, shown in (
        (3.5e38, r"3\.5e\+38"),
        (-1e39, r"-1e\+39"),
        (10**400, "1e400"),
    ):
        with pytest.raises(ValueError, match=f"x must be a number that float32 holds, .* got .*{shown}"):
            fitting("x", x)
