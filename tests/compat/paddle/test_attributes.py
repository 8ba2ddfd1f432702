"""What paddle hands to an optimizer beside numbers: what it refuses, row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gradxform.compat import paddle

REFUSED_PARTS: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("ClipGradByValue(max<0)", lambda: paddle.ClipGradByValue(-1.0), ValueError, r"max.*-1\.0"),
    ("ClipGradByValue(max=0)", lambda: paddle.ClipGradByValue(0.0), ValueError, r"max.*0\.0"),
    ("ClipGradByValue(max<min)", lambda: paddle.ClipGradByValue(0.1, 0.2), ValueError, r"max=0\.1, min=0\.2"),
    ("ClipGradByNorm(-1)", lambda: paddle.ClipGradByNorm(-1), ValueError, r"clip_norm.*-1\.0"),
    ("ClipGradByNorm(0)", lambda: paddle.ClipGradByNorm(0), ValueError, r"clip_norm.*0\.0"),
    ("ClipGradByNorm('x')", lambda: paddle.ClipGradByNorm("x"), ValueError, "clip_norm.*'x'"),
    ("L1Decay(None)", lambda: paddle.L1Decay(None), ValueError, "coeff.*None"),
    ("ParamAttr(regularizer=0.1)", lambda: paddle.ParamAttr(regularizer=0.1), TypeError, r"regularizer.*0\.1"),
    ("ParamAttr(need_clip=0)", lambda: paddle.ParamAttr(need_clip=0), TypeError, "need_clip.*0"),
]


@pytest.mark.parametrize(("build", "error", "words"), [r[1:] for r in REFUSED_PARTS], ids=[r[0] for r in REFUSED_PARTS])
def test_refused_parts(build: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        build()
    assert caught.type is error


def test_bad_values_of_clips_are_refused_where_they_are_written() -> None:
    """max < min, a norm that is not positive, and a decay that is no number, raise at the first step there."""
    with pytest.raises(ValueError, match="max"):
        paddle.ClipGradByValue(max=-1.0, min=0.0)
