"""paddle's scheduler that waits for a metric: a step of its own between the optimizer's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from gradxform.compat.common.plateaus import PlateauState, S, begun, number, rate_in, refuse_other_dict, with_rate
from gradxform.core import check
from gradxform.core.hyper import Tunable
from gradxform.core.plain import got
from gradxform.core.types import Array, ArrayLike, OptState
from gradxform.core.value import Value


class ReduceOnPlateau(Value):
    """Lower the rate to `max(factor·lr, min_lr)` when a metric has been no better for more than `patience` calls.

    It stands as `learning_rate` of an optimizer, whose state then holds the rate. Where paddle calls
    `scheduler.step(metrics)`: `state, plateau = scheduler.step(state, plateau, metrics)`, from `scheduler.init()` on.
    threshold: what is better than the best by less is no better, a share of it (`threshold_mode="rel"`) or a difference
    ("abs"). cooldown: calls behind a reduction that count for nothing, not even as the best. A reduction by no more
    than epsilon is left out.
    Raises: ValueError for `factor` of 1 or more, and for another mode; TypeError for a rate that is no number.
    Source: paddle 3.3.1, optimizer/lr.py.
    """

    learning_rate: float
    mode: str = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int = 0
    min_lr: float = 0.0
    epsilon: float = 1e-8
    verbose: bool = False

    def __post_init__(self) -> None:
        for name in ("mode", "threshold_mode"):
            if isinstance(text := getattr(self, name), str):
                object.__setattr__(self, name, text.lower())
        check.choice("min", "max", mode=self.mode)
        check.choice("rel", "abs", threshold_mode=self.threshold_mode)
        if not isinstance(self.learning_rate, int | float):
            raise TypeError(f"learning_rate must be a number, {got(self.learning_rate)}")
        for name in ("learning_rate", "factor", "threshold", "min_lr", "epsilon"):
            object.__setattr__(self, name, check.number(check.finite, **{name: getattr(self, name)}))
        if not self.factor < 1.0:
            raise ValueError(f"factor must be below 1, got {self.factor}")
        check.integer(patience=self.patience, cooldown=self.cooldown)
        check.boolean(verbose=self.verbose)

    @classmethod
    def public_name(cls) -> str:
        return cls.__name__

    @property
    def tunable(self) -> Tunable:
        """The rate as it stands in the optimizer's state."""
        return Tunable(self.learning_rate)

    def init(self) -> PlateauState:
        """What it knows before the first metric."""
        return begun(jnp.inf if self.mode == "min" else -jnp.inf)

    def step(self, state: S, plateau: PlateauState, metrics: ArrayLike) -> tuple[S, PlateauState]:
        """The optimizer's state, its rate lowered if it is time, and what is known behind this metric.

        Raises: ValueError if the state holds no tunable rate; TypeError for metrics that are no number.
        """
        now, best = number("metrics", metrics, plateau.best), plateau.best
        cooling = plateau.cooldown_counter > 0
        better = ~cooling & ((plateau.last_epoch == 0) | self._is_better(now, best))
        bad = jnp.where(better, 0, plateau.num_bad_epochs + ~cooling)
        due = ~cooling & (bad > self.patience)
        lr = rate_in(state)
        new = jnp.maximum(lr * self.factor, self.min_lr)
        counters = (
            jnp.where(due, 0, bad),
            jnp.where(due, self.cooldown, plateau.cooldown_counter - cooling),
            plateau.last_epoch + 1,
        )
        known = PlateauState(jnp.where(better, now, best), *(n.astype(jnp.int32) for n in counters))
        return with_rate(state, jnp.where(due & (lr - new > self.epsilon), new, lr)), known

    def _is_better(self, now: Array, best: Array) -> Array:
        margin = best * self.threshold if self.threshold_mode == "rel" else self.threshold
        return now < best - margin if self.mode == "min" else now > best + margin

    def state_dict(self, state: OptState, plateau: PlateauState) -> dict[str, Any]:
        """What paddle keeps under `LR_Scheduler`."""
        known = {name: x.item() for name, x in plateau._asdict().items()}
        return {**known, "best": known["best"] if known["last_epoch"] else None, "last_lr": float(rate_in(state))}

    def set_state_dict(self, state: S, state_dict: Mapping[str, Any]) -> tuple[S, PlateauState]:
        """The optimizer's state with the rate of paddle's scheduler, and what that knew.

        Raises: TypeError or ValueError for what is no `scheduler.state_dict()` of paddle's.
        """
        refuse_other_dict(state_dict, "last_lr")
        given = {name: state_dict[name] for name in PlateauState._fields if state_dict[name] is not None}
        known = self.init()
        read = {name: jnp.asarray(x, getattr(known, name).dtype).reshape(()) for name, x in given.items()}
        return with_rate(state, float(state_dict["last_lr"])), known._replace(**read)
