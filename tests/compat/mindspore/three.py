"""The three of MindSpore's optimizers whose arguments were recorded row by row."""

from __future__ import annotations

from typing import Any

import gradxform as gx
from gradxform.compat import mindspore
from gradxform.compat.mindspore.schedules import LearningRateSchedule


class Halving(LearningRateSchedule):
    def construct(self, global_step: Any) -> Any:
        return 0.5


def momentum(learning_rate: Any = 0.1, momentum: Any = 0.9, **kwargs: Any) -> gx.GradientTransformation:
    return mindspore.momentum(learning_rate, momentum, **kwargs)


THREE = {"momentum": momentum, "adam": mindspore.adam, "proximal_adagrad": mindspore.proximal_adagrad}
