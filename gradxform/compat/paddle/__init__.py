"""paddle's optimizers as they execute, with its arguments, checks and parameter groups.

Every one does in this order: clip, L1 or L2 decay, its rule, the learning rate. `parameters` arrive at `init`;
`multi_precision`, `use_multi_tensor` and `name` change no number there and are not here.
"""

from __future__ import annotations

from typing import Any

from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.paddle.adam import adam, adamax, adamw, lamb, nadam, radam
from gradxform.compat.paddle.assembly import assembled
from gradxform.compat.paddle.attributes import (
    ClipGradByGlobalNorm,
    ClipGradByNorm,
    ClipGradByValue,
    L1Decay,
    L2Decay,
    ParamAttr,
)
from gradxform.compat.paddle.checks import number
from gradxform.compat.paddle.extras import adadelta, adagrad, rmsprop, sgd
from gradxform.compat.paddle.state import load_state, save_state
from gradxform.core.chain import Chain, chain, lift
from gradxform.transforms.momentum import Trace

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


def momentum(
    learning_rate: Any = 0.001,
    momentum: Any = 0.9,
    use_nesterov: bool = False,
    weight_decay: Any = None,
    grad_clip: Any = None,
    groups: Any = None,
    *,
    param_attr: Any = None,
    frozen: Any = None,
) -> Chain:
    """`paddle.optimizer.Momentum`: `v <- momentum·v + g`, `w <- w - learning_rate·v`, or `g + momentum·v` for v.

    learning_rate: a float, a schedule, or one of `compat.paddle_schedules`. weight_decay: a number (L2), `L1Decay`,
    `L2Decay` or None, which joins g behind grad_clip: `ClipGradByValue`, `ClipGradByNorm` or `ClipGradByGlobalNorm`.
    groups: a list of dicts with `params` (see the page "Optimizers of other frameworks") and any of the arguments; in
    them `learning_rate` is a factor on the optimizer's. A global norm is taken for each group.
    param_attr: `{regular expression or selector: ParamAttr(...)}`. frozen: parameters that stay (`no_grad_set`).
    momentum and the coefficient of L2 decay are rounded to float32, also for float64 parameters, as there.
    Reach: element; array or tree with a clip by norm. State: trace, shaped like p.
    Raises: TypeError, ValueError and so on as paddle does.
    Source: paddle 3.3.1, optimizer/momentum.py.
    """
    number("momentum", momentum)

    def body(scaled: Chain, momentum: Any, use_nesterov: Any) -> Chain:
        mu = in_float32(number("momentum", momentum))
        return chain(lift(unchecked(Trace(0.0, bool(use_nesterov)), decay=mu)), scaled)

    return assembled(
        body,
        learning_rate,
        weight_decay,
        grad_clip,
        groups,
        param_attr,
        frozen,
        coefficient=in_float32,
        momentum=momentum,
        use_nesterov=use_nesterov,
    )
