"""What each bad value gets from each argument of each public function: `python -m tests.bad_values` prints the table.

A value is refused in words, taken where the argument can mean it, or it is a fault: taken where it means nothing, found
out later by another error, or answered by an exception that is not the library's.
"""

from __future__ import annotations

import decimal
import enum
import fractions
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradxform as gx
from gradxform.compat import mindspore, mindspore_schedules, paddle, paddle_schedules, torch, torch_schedules
from gradxform.optimizers.adam import ScaleByAdam


class Color(enum.Enum):
    RED = 1


def raises(*args):
    raise RuntimeError("my own")


def deleted():
    x = jnp.ones(())
    x.delete()
    return x


VALUES: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "'fast'": lambda: "fast",
    "''": lambda: "",
    "'0.5'": lambda: "0.5",
    "b'x'": lambda: b"x",
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "-1": lambda: -1,
    "0": lambda: 0,
    "1": lambda: 1,
    "0.5": lambda: 0.5,
    "1.5": lambda: 1.5,
    "10**400": lambda: 10**400,
    "1e39": lambda: 1e39,
    "1e-50": lambda: 1e-50,
    "2**63": lambda: 2**63,
    "1j": lambda: 1j,
    "object()": object,
    "a class": lambda: Color,
    "a module": lambda: math,
    "float16": lambda: jnp.float16,
    "...": lambda: ...,
    "{1.0}": lambda: {1.0, 0.5},
    "{}": dict,
    "{'a': 1.0}": lambda: {"a": 1.0},
    "{3: None}": lambda: {3: None},
    "[]": list,
    "()": tuple,
    "['a']": lambda: ["a"],
    "[[0.5]]": lambda: [[0.5], [0.5]],
    "[nan]": lambda: [0.5, math.nan],
    "[None]": lambda: [None],
    "range(0)": lambda: range(0),
    "generator": lambda: (x for x in ("a", "b")),
    "ones(2)": lambda: np.ones(2),
    "ones(2, 2)": lambda: np.ones((2, 2)),
    "ones(0)": lambda: np.ones(0),
    "object array": lambda: np.array(object(), dtype=object),
    "object arrays": lambda: np.array([object(), None], dtype=object),
    "int array": lambda: jnp.arange(2),
    "bool array": lambda: np.array(True),
    "complex array": lambda: jnp.array(1j),
    "text array": lambda: np.array("fast"),
    "key": lambda: jax.random.key(0),
    "lambda": lambda: lambda: 0.5,
    "lambda t": lambda: lambda t: 0.5,
    "lambda a, b": lambda: lambda a, b: 0.5,
    "-> text": lambda: lambda t: "fast",
    "-> vector": lambda: lambda t: jnp.ones(7),
    "-> None": lambda: lambda t: None,
    "-> nan": lambda: lambda t: math.nan,
    "raises": lambda: raises,
    "a rule": ScaleByAdam,
    "a transformation": lambda: gx.sgd(0.1),
    "a selector": lambda: gx.named("nowhere"),
    "a schedule": lambda: gx.constant_schedule(0.5),
    "a tunable": lambda: gx.tunable(0.5),
    "a struct": lambda: jax.ShapeDtypeStruct((), jnp.float32),
    "rows": lambda: gx.Rows(jnp.array([0]), jnp.ones((1, 2)), (3, 2)),
    "datetime64": lambda: np.datetime64("2020-01-01"),
    "timedelta64": lambda: np.timedelta64(1, "s"),
    "Decimal": lambda: decimal.Decimal("0.5"),
    "Fraction": lambda: fractions.Fraction(1, 2),
    "enum": lambda: Color.RED,
    "deleted": deleted,
    "exception": lambda: ValueError("no"),
}
