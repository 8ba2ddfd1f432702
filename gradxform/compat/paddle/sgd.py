"""paddle's SGD and its Momentum."""

from __future__ import annotations

from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.groups import Groups, Members
from gradxform.compat.common.overflows import Overflows
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.paddle.assembly import assembled
from gradxform.compat.paddle.attributes import GradientClip
from gradxform.compat.paddle.checks import LearningRate, NumberLike, ParamAttrs, WeightDecay, number
from gradxform.compat.paddle.names import named
from gradxform.core.chain import Chain, chain, lift
from gradxform.transforms.momentum import Trace


@named
def momentum(
    learning_rate: LearningRate = 0.001,
    momentum: NumberLike = 0.9,
    use_nesterov: bool = False,
    weight_decay: WeightDecay = None,
    grad_clip: GradientClip | None = None,
    groups: Groups | None = None,
    *,
    param_attr: ParamAttrs | None = None,
    frozen: Members | None = None,
) -> Chain:
    """`paddle.optimizer.Momentum`: `v <- momentum·v + g`, `w <- w - learning_rate·v`, or `g + momentum·v` for v.

    learning_rate: a float, a schedule, or one of `compat.paddle_schedules`. weight_decay: a number (L2), `L1Decay`,
    `L2Decay` or None, which joins g behind grad_clip: `ClipGradByValue`, `ClipGradByNorm` or `ClipGradByGlobalNorm`.
    groups: a list of dicts with `params` (see the page "Optimizers of other frameworks") and any of the arguments; in
    them `learning_rate` is a factor on the optimizer's. A global norm is taken for each group. `weight_decay` of a
    group, None too, stands in the optimizer's place, but an L1 decay of the optimizer stays beside all but L1 decay.
    param_attr: `{regular expression or selector: ParamAttr(...)}`. frozen: parameters that stay (`no_grad_set`).
    momentum and the coefficient of L2 decay are rounded to float32, also for float64 parameters, as there.
    Reach: element; array or tree with a clip by norm. State: trace, shaped like p.
    Raises: TypeError, ValueError and so on as paddle does.
    Source: paddle 3.3.1, optimizer/momentum.py.
    """
    number("momentum", momentum)

    def body(scaled: Chain, momentum: NumberLike, use_nesterov: bool) -> Chain:
        mu = in_float32(number("momentum", momentum))
        return chain(lift(Overflows(unchecked(Trace(0.0, bool(use_nesterov)), decay=mu))), scaled)

    return assembled(
        body,
        learning_rate,
        weight_decay,
        grad_clip,
        groups,
        param_attr,
        frozen,
        coefficient=in_float32,
        beside_l1=True,
        momentum=momentum,
        use_nesterov=use_nesterov,
    )


@named
def sgd(
    learning_rate: LearningRate = 0.001,
    weight_decay: WeightDecay = None,
    grad_clip: GradientClip | None = None,
    groups: Groups | None = None,
    *,
    param_attr: ParamAttrs | None = None,
    frozen: Members | None = None,
) -> Chain:
    """`paddle.optimizer.SGD`: `w <- w - learning_rate·g`; arguments as in `momentum`.

    `weight_decay` of a group stands in the optimizer's place, unless it is None; so in all but `momentum` and `adamw`.

    Reach: element; array or tree with a clip by norm. State: none.
    Raises: as `momentum`.
    Source: paddle 3.3.1, optimizer/sgd.py.
    """
    return assembled(lambda scaled: scaled, learning_rate, weight_decay, grad_clip, groups, param_attr, frozen)
