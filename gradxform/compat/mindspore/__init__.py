"""MindSpore's optimizers as they execute on the CPU, with its arguments, checks and parameter groups.

Every one does in this order: decay (by the loss scale times too much), centralisation, division by the loss scale, its
rule, the learning rate. What differs from MindSpore's documentation stands on the page "MindSpore".
"""

from __future__ import annotations

from gradxform.compat.mindspore.adadelta import adadelta
from gradxform.compat.mindspore.adagrad import adagrad, proximal_adagrad
from gradxform.compat.mindspore.adam import adam, adam_offload, adam_weight_decay, adamax, lazy_adam
from gradxform.compat.mindspore.ftrl import ftrl
from gradxform.compat.mindspore.lamb import lamb
from gradxform.compat.mindspore.lars import lars
from gradxform.compat.mindspore.loss_scale import (
    dynamic_loss_scale_update_cell,
    dynamic_loss_scaler,
    fixed_loss_scale_update_cell,
)
from gradxform.compat.mindspore.rmsprop import rmsprop
from gradxform.compat.mindspore.sgd import momentum, sgd
from gradxform.compat.mindspore.state import load_state, save_state

__all__ = [
    "adadelta",
    "adagrad",
    "adam",
    "adam_offload",
    "adam_weight_decay",
    "adamax",
    "dynamic_loss_scale_update_cell",
    "dynamic_loss_scaler",
    "fixed_loss_scale_update_cell",
    "ftrl",
    "lamb",
    "lars",
    "lazy_adam",
    "load_state",
    "momentum",
    "proximal_adagrad",
    "rmsprop",
    "save_state",
    "sgd",
]
