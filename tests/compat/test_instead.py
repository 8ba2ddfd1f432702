"""A name of optax that is not here says what does the job."""

from __future__ import annotations

import inspect
import re

import optax
import pytest

import gradxform as gx
from gradxform.compat.instead import INSTEAD, instead

ABSENT = [name for name in dir(optax) if not name.startswith("_") and name not in dir(gx)]


@pytest.mark.parametrize("name", ABSENT)
def test_each_name_of_optax_is_here_or_says_what_is(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"no attribute '{name}'; instead of optax\.{name}: ") as raised:
        getattr(gx, name)
    for word in re.findall(r"gx\.(\w+)", str(raised.value)):
        assert hasattr(gx, word), word
    assert not hasattr(gx, name)


def test_an_import_of_the_name_says_it_too() -> None:
    with pytest.raises(ImportError, match=r"instead of optax\.MultiSteps: gx\.accumulate"):
        from gradxform import MultiSteps  # noqa: F401
    with pytest.raises(ImportError, match="cannot import name 'adan_typo'"):
        from gradxform import adan_typo  # noqa: F401


@pytest.mark.parametrize("names", INSTEAD)
def test_no_sentence_is_about_a_name_that_nobody_has(names: str) -> None:
    assert any(re.fullmatch(names, name) for name in ABSENT)


@pytest.mark.parametrize("name", ["adan_typo", "Stat", "cosine"])
def test_other_names_are_just_not_there(name: str) -> None:
    assert instead(name) is None
    with pytest.raises(AttributeError, match=rf"has no attribute '{name}'$"):
        getattr(gx, name)


def test_the_types_that_signatures_name_are_here() -> None:
    """What user code writes in annotations, `isinstance` and for states without memory."""
    for name in ("GradientTransformationExtraArgs", "TransformInitFn", "TransformUpdateFn", "OptState", "Params"):
        assert name in gx.__all__
    assert gx.GradientTransformationExtraArgs is gx.GradientTransformation
    assert isinstance(gx.adam(0.1), gx.GradientTransformationExtraArgs)
    assert gx.EmptyState() == ()
    assert inspect.isclass(gx.EmptyState)
    assert gx.multi_transform is gx.partition
    assert gx.safe_int32_increment is gx.safe_increment

    class Scaled(gx.Factor):
        by: gx.ScalarOrSchedule = 2.0

        def factor(self, g, p, k):
            return self.by

    assert Scaled(gx.linear_schedule(1.0, 0.0, 3)) == Scaled(gx.linear_schedule(1.0, 0.0, 3))
