"""Orders in which a transformation would not do what it says, each refused with the order that does it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gradxform.core.facts import Reach, Station
from gradxform.core.hyper import Hyper, Tunable, hyper_fields
from gradxform.core.lens import remembers_tree
from gradxform.core.rule import Factor, Rule

if TYPE_CHECKING:
    from gradxform.core.stage import Stage
    from gradxform.core.transform import GradientTransformation

ZEROS, UPHILL = "the zeros between its steps", "its steps uphill"
"""What a control that does not step at every call gives instead: `GradientTransformation.between`."""


def refuse_loss_scale(what: str, inner: GradientTransformation) -> None:
    """Refuse a loss scale inside what looks at gradients."""
    if scale := _loss_scale(inner):
        raise ValueError(
            f"{what} around {scale} takes gradients of the scaled loss for the loss's: "
            f"the loss scale goes outside: {scale}({what}(...))"
        )


def refuse_renewal(what: str, inner: GradientTransformation) -> None:
    """Refuse a control that counts inside what makes its state anew."""
    for x in inner.inside():
        if x.scales_loss or x.guards:
            scale = _loss_scale(x)
            raise ValueError(
                f"{what} with reset_state makes anew what {x.name} counts: {'the loss scale' if scale else x.name} "
                f"goes outside: {scale or x.name}({what}(...))"
            )


def refuse_own_gradients(what: str, inner: GradientTransformation) -> None:
    """Refuse what asks for gradients of its own inside what has to see them all."""
    for x in inner.inside():
        if x.own_gradients:
            raise ValueError(
                f"{what} does not see the gradients that {x.name} asks for in opaque mode: "
                f"leave opaque_mode out: {what}({x.name}(...))"
            )


def refuse_two_scales(inner: GradientTransformation) -> None:
    """Refuse a loss scale, or a stage that undoes one, inside another."""
    if found := _loss_scale(inner) or undone_in(inner):
        raise ValueError(f"a loss scale around another, {found}, divides the gradient twice: leave one of them out")


def undone_in(tx: GradientTransformation) -> str | None:
    """The first stage inside that undoes a loss scale, and is none."""
    return _first(stage for x in tx.inside() for stage in getattr(x, "stages", ()) if stage.facts.unscales)


def refuse_order(stages: Sequence[Stage]) -> None:
    """Refuse what stands on the wrong side of a control, or of `unscale`, in a chain."""
    for i, stage in enumerate(stages):
        if _unscales(stage):
            _refuse_before_scale(stage, stages[:i])
    for i, stage in enumerate(stages):
        before, behind = stages[:i], stages[i + 1 :]
        for x in stage.inside():
            if x.scales_loss and len(stage.parts()) > 1:
                raise ValueError(
                    f"a loss scale inside {stage.name} leaves the scaled gradients of other leaves as they are: the "
                    f"loss scale goes outside, around all of them: {_loss_scale(x)}({stage.name}(...))"
                )
            if x.guards and (found := _first(s for s in before if _remembers(s))):
                raise ValueError(
                    f"{found} stands before {x.name} and remembers what is not finite before {x.name} sees it: "
                    f"{x.name} goes outside, around both: {x.name}(...)"
                )
            if x.own_gradients and (found := _first(s for s in before if not _is_freeze(s))):
                raise ValueError(
                    f"{found} stands before {x.name}, which asks in opaque mode for gradients that do not go through "
                    f"it: put it into both transformations of {x.name}, or leave opaque_mode out"
                )
            if x.between and (found := _first(s for s in behind if not _steady(s, x.between))):
                raise ValueError(
                    f"{found} stands behind {x.name} and would run on {x.between} too: "
                    f"{x.name} goes outside, around both: {x.name}(...)"
                )


def refuse_turns(whose: str, met: Sequence[Any]) -> None:
    """Refuse a way on which the sign is turned twice: it would lead uphill."""
    turning = [x for x in met if _turns(x)]
    if len(turning) > 1:
        raise ValueError(
            f"{whose} two stages that turn the sign, and would go uphill: {turning[0]!r} and {turning[1]!r}; if the "
            "second is a factor alone: scale_by_learning_rate(..., flip_sign=False), or scale(...)"
        )


def _turns(x: Any) -> bool:
    """Whether a rule, a stage or a transformation turns the sign, of all leaves that it gets."""
    if isinstance(x, Rule):
        return x.facts.turns
    if hasattr(x, "stages"):
        return any(map(_turns, x.stages))
    if (rule := getattr(x, "only_rule", None)) is not None:
        return getattr(x, "where", None) is None and _turns(rule)
    if getattr(x, "turns", False):
        return True
    inner = getattr(x, "wrapped", None) or getattr(x, "inner", None)
    return inner is not None and _turns(inner)


def _refuse_before_scale(stage: Stage, before: Sequence[Stage]) -> None:
    scale = _loss_scale(stage)
    if twice := _first(s for s in before if _unscales(s)):
        raise ValueError(f"{scale or 'unscale'} behind {twice} divides the gradient twice: leave one of them out")
    # Decay before `unscale` is divided by the scale, as in MindSpore.
    said = [s for s in before if scale or s.facts.station != Station.DECAY]
    if wrong := _first(s for s in said if not _commutes(s)):
        remedy = f"the loss scale goes outside: {scale}(chain(...))" if scale else "unscale goes first"
        raise ValueError(
            f"{wrong} before {scale or 'unscale'} takes gradients of the scaled loss for the loss's: {remedy}"
        )


def _first(stages: Iterable[Stage]) -> str | None:
    return next(map(repr, stages), None)


def _loss_scale(tx: GradientTransformation | Stage) -> str | None:
    """The public name of the loss scale inside."""
    return next((repr(x).split("(")[0] for x in tx.inside() if x.scales_loss), None)


def _unscales(stage: Stage) -> bool:
    return stage.facts.unscales or _loss_scale(stage) is not None


def _commutes(stage: Stage) -> bool:
    """Whether k·g gives k·u for every k, and nothing is remembered."""
    if parts := stage.parts():
        return all(_commutes(s) for _, part, _ in parts for s in part.stages)
    rule, facts = stage.only_rule, stage.facts
    return facts.homogeneous or (isinstance(rule, Factor) and facts.reach == Reach.ELEMENT and not rule.remembers)


def _steady(stage: Stage, between: str) -> bool:
    """Whether it leaves alone what comes between steps, and is the same at each."""
    if between == UPHILL:
        return _is_freeze(stage)
    if parts := stage.parts():
        return all(_steady(s, between) for _, part, _ in parts for s in part.stages)
    rule = stage.only_rule
    if rule is None or stage.facts.rests:
        return rule is not None or _is_freeze(stage)
    zero = stage.facts.keeps_zero or isinstance(rule, Factor)
    return zero and not _remembers(stage) and not any(map(_is_scheduled, hyper_fields(rule).values()))


def _is_freeze(stage: Stage) -> bool:
    return stage.only_rule is None and stage.facts.homogeneous


def _is_scheduled(x: Hyper) -> bool:
    return callable(x.initial if isinstance(x, Tunable) else x)


def _remembers(stage: Stage) -> bool:
    if parts := stage.parts():
        return any(_remembers(s) for _, part, _ in parts for s in part.stages)
    rule = stage.only_rule
    return rule is not None and (rule.remembers or remembers_tree(rule))
