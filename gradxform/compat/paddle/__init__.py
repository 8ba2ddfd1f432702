"""paddle's optimizers as they execute, with its arguments, checks and parameter groups.

Every one does in this order: clip, L1 or L2 decay, its rule, the learning rate. `parameters` arrive at `init`;
`multi_precision` and `use_multi_tensor` pass and change no number, and `name` stands in the keys of `save_state`.
"""

from __future__ import annotations

from gradxform.compat.paddle.adadelta import adadelta
from gradxform.compat.paddle.adagrad import adagrad
from gradxform.compat.paddle.adam import adam, adamax, adamw, lamb, nadam, radam
from gradxform.compat.paddle.attributes import (
    ClipGradByGlobalNorm,
    ClipGradByNorm,
    ClipGradByValue,
    L1Decay,
    L2Decay,
    ParamAttr,
)
from gradxform.compat.paddle.rmsprop import rmsprop
from gradxform.compat.paddle.sgd import momentum, sgd
from gradxform.compat.paddle.state import load_state, save_state

__all__ = [
    "ClipGradByGlobalNorm",
    "ClipGradByNorm",
    "ClipGradByValue",
    "L1Decay",
    "L2Decay",
    "ParamAttr",
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "lamb",
    "load_state",
    "momentum",
    "nadam",
    "radam",
    "rmsprop",
    "save_state",
    "sgd",
]
