from __future__ import annotations

import jax
import numpy as np
import pytest

import gradxform as gx
from gradxform.core import check
from gradxform.core.hyper import coerce

INSIDE = {
    check.fraction: [0.0, 0.5, 1 - 1e-16],
    check.unit: [0.0, 1.0],
    check.positive: [1e-300, 1e30],
    check.nonnegative: [0.0, 3.0],
    check.finite: [-3.0, 0.0, 1e30],
}
OUTSIDE = {
    check.fraction: [1.0, -1e-9, np.nan, np.inf],
    check.unit: [1.0 + 1e-15, -1e-9, np.nan],
    check.positive: [0.0, -1.0, np.nan, np.inf],
    check.nonnegative: [-1e-300, np.nan, np.inf],
    check.finite: [np.nan, np.inf, -np.inf],
}


@pytest.mark.parametrize(("test", "x"), [(f, x) for f, xs in INSIDE.items() for x in xs])
def test_inside_the_range(test, x):
    for given in (x, [x, x], gx.tunable(x), gx.tunable([x, x]), lambda count: -7.0):
        test(b1=coerce("b1", given))


@pytest.mark.parametrize(("test", "x"), [(f, x) for f, xs in OUTSIDE.items() for x in xs])
def test_outside_the_range(test, x):
    good = INSIDE[test][0]
    for given in (x, [good, x], gx.tunable(x), gx.tunable([good, x])):
        with pytest.raises(ValueError, match=rf"^b1 must be .*, got {x}$"):
            test(b1=coerce("b1", given))


def test_tracers_pass():
    jax.jit(lambda x: (check.fraction(b1=coerce("b1", x)), x)[1])(3.0)


def test_integers():
    for x in (0, np.int64(3)):
        check.integer(n=x)
    with pytest.raises(TypeError, match=r"n must be an integer, got 1\.5 of type float"):
        check.integer(n=1.5)
    with pytest.raises(TypeError, match="n must be an integer, got True of type bool"):
        check.integer(n=True)
    with pytest.raises(ValueError, match="n must be at least 2, got 1"):
        check.integer(at_least=2, n=1)


def test_booleans_and_choices():
    check.boolean(flag=True)
    check.choice("a", "b", mode="a")
    with pytest.raises(TypeError, match="flag must be True or False, got 1 of type int"):
        check.boolean(flag=1)
    with pytest.raises(ValueError, match="mode must be one of 'a', 'b', got 'c'"):
        check.choice("a", "b", mode="c")


def test_one_plain_number():
    assert check.number(check.positive, spike=6) == 6.0
    with pytest.raises(TypeError, match=r"spike must be a number, got \[1.0, 2.0\]"):
        check.number(check.positive, spike=[1.0, 2.0])
    with pytest.raises(ValueError, match="spike must be positive and finite, got 0"):
        check.number(check.positive, spike=0)
    assert check.number(check.positive, infinite=True, increase_factor=np.inf) == np.inf


def test_a_mapping_is_no_dtype():
    with pytest.raises(TypeError, match=r"mu_dtype must be a floating dtype, got {'a': 'int8'} of type dict"):
        check.floating(mu_dtype={"a": "int8"})


def test_functions_and_axes_may_be_left_out() -> None:
    check.function(decay_rate_fn=abs, clip_value_fn=None)
    check.axes(axis=0, block_axes=(), others=(-1, 2), none=None)
    with pytest.raises(TypeError, match="clip_value_fn must be a function, got 3"):
        check.function(clip_value_fn=3)
    for wrong in (1.5, True, "rows", (0, "rows")):
        with pytest.raises(TypeError, match="block_axes must be an integer, a tuple of them or None, got"):
            check.axes(block_axes=wrong)
