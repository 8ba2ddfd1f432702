"""torch's scheduler that waits for a metric: a step of its own between the optimizer's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from gradxform.compat.common.plateaus import PlateauState, S, begun, number, rates_in, refuse_other_dict
from gradxform.control.tunable import with_hyperparams
from gradxform.core import check
from gradxform.core.hyper import Tunable, coerce
from gradxform.core.plain import got
from gradxform.core.types import Array, ArrayLike, OptState
from gradxform.core.value import Value
from gradxform.schedules.timed import check_number


class ReduceLROnPlateau(Value):
    """Lower the rate to `max(factor·lr, min_lr)` when a metric has been no better for more than `patience` calls.

    It stands as `lr` of an optimizer, or of a group, and the rates of all groups stand in the state then: it lowers
    them together, as in torch. Behind an epoch: `state, plateau = scheduler.step(state, plateau, metric)`, from
    `scheduler.init()` on.
    threshold: what is better than the best by less is no better, a share of it (`threshold_mode="rel"`) or a difference
    ("abs"). cooldown: calls behind a reduction that count for nothing. min_lr: or one for each group. A reduction by
    less than eps is left out.
    Raises: ValueError for `factor` of 1 or more, and for another mode.
    Source: torch 2.13, optim/lr_scheduler.py.
    """

    lr: Any
    mode: str = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int = 0
    min_lr: Any = 0.0
    eps: float = 1e-8

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr", coerce("lr", self.lr))
        check_number("lr", self.lr)
        check.choice("min", "max", mode=self.mode)
        check.choice("rel", "abs", threshold_mode=self.threshold_mode)
        for name in ("factor", "threshold", "eps"):
            object.__setattr__(self, name, check.number(check.finite, **{name: getattr(self, name)}))
        if not self.factor < 1.0:
            raise ValueError(f"factor must be below 1, got {self.factor}")
        check.integer(patience=self.patience, cooldown=self.cooldown)
        several = isinstance(self.min_lr, list | tuple)
        if several and not self.min_lr:
            raise ValueError(f"min_lr must be a number, or one for each group, {got(self.min_lr)}")
        lowest = tuple(check.number(check.finite, min_lr=x) for x in (self.min_lr if several else [self.min_lr]))
        object.__setattr__(self, "min_lr", lowest if several else lowest[0])

    @classmethod
    def public_name(cls) -> str:
        return cls.__name__

    @property
    def tunable(self) -> Tunable:
        """The rate as it stands in the optimizer's state."""
        return Tunable(self.lr)

    def init(self) -> PlateauState:
        """What it knows before the first metric."""
        return begun(jnp.inf if self.mode == "min" else -jnp.inf)

    def step(self, state: S, plateau: PlateauState, metrics: ArrayLike) -> tuple[S, PlateauState]:
        """The optimizer's state, its rates lowered if it is time, and what is known behind this metric.

        Raises: ValueError if the state holds no tunable rate, or not as many as `min_lr` has.
        """
        now, best = number("metrics", metrics, plateau.best), plateau.best
        better = self._is_better(now, best)
        cooling = plateau.cooldown_counter > 0
        bad = jnp.where(better | cooling, 0, plateau.num_bad_epochs + 1)
        reduced = bad > self.patience
        counters = (
            jnp.where(reduced, 0, bad),
            jnp.where(reduced, self.cooldown, plateau.cooldown_counter - cooling),
            plateau.last_epoch + 1,
        )
        rates, lower = rates_in(state), {}
        for (name, lr), lowest in zip(rates.items(), self._lowest(len(rates)), strict=True):
            new = jnp.maximum(self.factor * lr, lowest)
            lower[name] = jnp.where(reduced & (lr - new > self.eps), new, lr)
        known = PlateauState(jnp.where(better, now, best), *(n.astype(jnp.int32) for n in counters))
        return with_hyperparams(state, **lower), known

    def _is_better(self, now: Array, best: Array) -> Array:
        sign = -1.0 if self.mode == "min" else 1.0
        bar = best * (1.0 + sign * self.threshold) if self.threshold_mode == "rel" else best + sign * self.threshold
        return now < bar if self.mode == "min" else now > bar

    def _lowest(self, groups: int) -> tuple[float, ...]:
        lowest = self.min_lr if isinstance(self.min_lr, tuple) else (self.min_lr,) * groups
        if len(lowest) != groups:
            raise ValueError(f"min_lr must have one value for each of {groups} groups, got {len(lowest)}")
        return lowest

    def state_dict(self, state: OptState, plateau: PlateauState) -> dict[str, Any]:
        """What `scheduler.load_state_dict` of torch takes; the rates in `_last_lr` belong in the optimizer's groups."""
        options = ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "eps")
        known = {name: x.item() for name, x in plateau._asdict().items()}
        rates = [float(lr) for lr in rates_in(state).values()]
        return {**{name: getattr(self, name) for name in options}, **known, "_last_lr": rates}

    def load_state_dict(self, state: S, state_dict: Mapping[str, Any]) -> tuple[S, PlateauState]:
        """The optimizer's state with the rates in `_last_lr`, and what torch's scheduler knew.

        Raises: TypeError or ValueError for what is no `scheduler.state_dict()` of torch's, or of other groups.
        """
        refuse_other_dict(state_dict, "_last_lr")
        rates, last = rates_in(state), [float(lr) for lr in state_dict["_last_lr"]]
        if len(last) != len(rates):
            raise ValueError(f"state_dict has {len(last)} rates in '_last_lr', the state {len(rates)}: {[*rates]}")
        known = {name: jnp.asarray(float(state_dict[name]), x.dtype) for name, x in self.init()._asdict().items()}
        return with_hyperparams(state, **dict(zip(rates, last, strict=True))), PlateauState(**known)
