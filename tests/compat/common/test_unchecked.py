"""Numbers taken as they are: coerced as everywhere, and not checked."""

from __future__ import annotations

import numpy as np
import pytest

from gradxform.compat.common.unchecked import unchecked
from gradxform.optimizers.adam import ScaleByAdam


def test_what_the_rule_refuses_is_taken() -> None:
    with pytest.raises(ValueError, match="b1"):
        ScaleByAdam(b1=1.5)
    rule = unchecked(ScaleByAdam(eps=0.5), b1=1.5)
    assert (rule.b1, rule.b2, rule.eps) == (1.5, 0.999, 0.5)


def test_numbers_are_coerced() -> None:
    rule = unchecked(ScaleByAdam(), b1=np.float32(0.5), eps=1)
    assert (type(rule.b1), rule.b1) == (float, 0.5)
    assert (type(rule.eps), rule.eps) == (float, 1.0)
    with pytest.raises(TypeError, match="eps must be"):
        unchecked(ScaleByAdam(), eps="a")
