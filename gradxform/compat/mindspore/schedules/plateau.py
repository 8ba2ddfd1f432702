"""MindSpore's callback that waits for a metric: a step of its own between the optimizer's."""

from __future__ import annotations

import jax.numpy as jnp

from gradxform.compat.common.plateaus import PlateauState, S, begun, number, rate_in, with_rate
from gradxform.core import check
from gradxform.core.plain import got
from gradxform.core.types import Array, ArrayLike
from gradxform.core.value import Value

SMALLER_IS_BETTER = (
    "hausdorff_distance",
    "mae",
    "mse",
    "loss",
    "perplexity",
    "mean_surface_distance",
    "root_mean_square_distance",
    "eval_loss",
)
"""The metrics of MindSpore that `mode="auto"` wants low."""


class ReduceLROnPlateau(Value):
    """Lower the rate to `max(factor·lr, min_lr)` when a metric has been no better for `patience` epochs.

    `mindspore.train.ReduceLROnPlateau`. The optimizer has `learning_rate=gx.tunable(0.01)`, and behind an epoch
    `state, plateau = callback.step(state, plateau, metric)`, from `callback.init()` on. monitor: the metric's name,
    which tells `mode="auto"` what is better. min_delta: what is better than the best by less is no better; its sign is
    ignored. cooldown: epochs behind a reduction that do not count. A metric of exactly 0 is taken for a missing one,
    as there.
    Raises: ValueError for `factor` outside (0, 1), and for another mode; TypeError for a monitor that is no name.
    Source: mindspore 2.10, train/callback/_reduce_lr_on_plateau.py.
    """

    monitor: str = "eval_loss"
    factor: float = 0.1
    patience: int = 10
    verbose: bool = False
    mode: str = "auto"
    min_delta: float = 1e-4
    cooldown: int = 0
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.monitor, str):
            raise TypeError(f"monitor must be a name, {got(self.monitor)}")
        for name in ("factor", "min_delta", "min_lr"):
            object.__setattr__(self, name, check.number(check.finite, **{name: getattr(self, name)}))
        if not 0.0 < self.factor < 1.0:
            raise ValueError(f"factor must be in (0, 1), got {self.factor}")
        check.integer(patience=self.patience, cooldown=self.cooldown)
        check.boolean(verbose=self.verbose)
        check.choice("auto", "min", "max", mode=self.mode)

    @classmethod
    def public_name(cls) -> str:
        return cls.__name__

    @property
    def falls(self) -> bool:
        """Whether less is better."""
        return self.mode == "min" or (self.mode == "auto" and self.monitor in SMALLER_IS_BETTER)

    def init(self) -> PlateauState:
        """What it knows before the first metric; `num_bad_epochs` is its `wait`."""
        return begun(jnp.inf if self.falls else -jnp.inf)

    def step(self, state: S, plateau: PlateauState, metric: ArrayLike) -> tuple[S, PlateauState]:
        """The optimizer's state, its rate lowered if it is time, and what is known behind this metric.

        Raises: ValueError if the state holds no tunable rate; TypeError for a metric that is no number.
        """
        now, best = number("metric", metric, plateau.best), plateau.best
        told, better, cooling = now != 0.0, self._is_better(now, best), plateau.cooldown_counter > 0
        left = plateau.cooldown_counter - cooling
        waited = jnp.where(better | (left > 0), 0, jnp.where(cooling, 0, plateau.num_bad_epochs) + 1)
        due = ~better & (left == 0) & (waited >= self.patience)
        lr = rate_in(state)
        lower = jnp.where(lr > self.min_lr, jnp.maximum(lr * self.factor, self.min_lr), lr)
        counters = (jnp.where(due, 0, waited), jnp.where(due, self.cooldown, left), plateau.last_epoch + 1)
        known = PlateauState(jnp.where(better, now, best), *(n.astype(jnp.int32) for n in counters))
        known = PlateauState(*(jnp.where(told, new, old) for new, old in zip(known, plateau, strict=True)))
        return with_rate(state, jnp.where(told & due, lower, lr)), known

    def _is_better(self, now: Array, best: Array) -> Array:
        least = abs(self.min_delta)
        return now < best - least if self.falls else now > best + least
