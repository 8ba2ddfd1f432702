"""torch's optimizers as they execute, with its arguments, checks and parameter groups.

`torch.optim.SGD(model.parameters(), lr=0.1)` is `sgd(lr=0.1)` here: the parameters arrive at `init`. Flags that choose
an implementation (`foreach`, `fused`, `capturable`, `differentiable`) change no number, and are left.
"""

from __future__ import annotations

from gradxform.compat.torch.adadelta import adadelta
from gradxform.compat.torch.adafactor import adafactor
from gradxform.compat.torch.adagrad import adagrad
from gradxform.compat.torch.adam import adam, adamax, adamw, nadam, radam, sparse_adam
from gradxform.compat.torch.asgd import asgd
from gradxform.compat.torch.averaging import AveragedModel, get_ema_avg_fn, get_swa_avg_fn
from gradxform.compat.torch.lbfgs import lbfgs
from gradxform.compat.torch.muon import muon
from gradxform.compat.torch.rmsprop import rmsprop
from gradxform.compat.torch.rprop import rprop
from gradxform.compat.torch.sgd import sgd
from gradxform.compat.torch.state import load_state, save_state
from gradxform.compat.torch.weights import load_params

__all__ = [
    "AveragedModel",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "asgd",
    "get_ema_avg_fn",
    "get_swa_avg_fn",
    "lbfgs",
    "load_params",
    "load_state",
    "muon",
    "nadam",
    "radam",
    "rmsprop",
    "rprop",
    "save_state",
    "sgd",
    "sparse_adam",
]
