"""torch's recursion of schedulers in Python's numbers, for combinations that have no closed form."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gradxform.compat.torch.schedules.decays import STEPS, Group, TorchSchedule
from gradxform.core.hyper import Schedule
from gradxform.core.value import Child, Pair


class One:
    """A scheduler as torch runs it: its epoch, its steps behind the first, and the rate that it goes out from."""

    def __init__(self, scheduler: TorchSchedule, group: Group) -> None:
        self.scheduler, self.group, self.epoch, self.steps = scheduler, group, -1, 0
        scheduler.enter(group)
        self.base = group.setdefault("initial_lr", group["lr"])
        self.begin()
        self.base = getattr(scheduler, "base_lr", self.base)

    def begin(self) -> None:
        self.steps = -1
        self.step(initial=True)

    def step(self, initial: bool = False) -> None:
        self.epoch, self.steps = self.epoch + 1, self.steps + 1
        k = self.steps if self.scheduler.counts_steps else self.epoch
        self.group["lr"] = self.scheduler.follow(self.group, self.base, k, initial)

    def restart(self) -> None:
        self.epoch = 0
        self.group["lr"] = self.scheduler.start(self.group, self.base)

    def undo(self) -> None:
        self.epoch -= 1


class Together:
    """Schedulers that step one after the other at every step."""

    def __init__(self, schedulers: Iterable[Any], group: Group) -> None:
        self.parts = [running(scheduler, group) for scheduler in schedulers]

    def step(self) -> None:
        for part in self.parts:
            part.step()

    begin = step

    def undo(self) -> None:
        for part in self.parts:
            part.undo()


class InTurn(Together):
    """Schedulers each of which steps from its milestone on; making it takes the first steps of all back."""

    def __init__(self, schedulers: Iterable[Any], milestones: Iterable[int], group: Group) -> None:
        super().__init__(schedulers, group)
        self.milestones, self.epoch = [*milestones], 0
        group["lr"] = group["initial_lr"]
        self.undo()
        self.parts[bisect_right(self.milestones, 0)].begin()

    def step(self) -> None:
        self.epoch += 1
        i = bisect_right(self.milestones, self.epoch)
        if i > 0 and self.milestones[i - 1] == self.epoch:
            self.parts[i].restart()
        else:
            self.parts[i].step()

    begin = step


def running(scheduler: Any, group: Group) -> Any:
    """A scheduler as it stands in torch when its parts and it were made, in the order in which they are written."""
    schedulers, milestones = (getattr(scheduler, name, None) for name in ("schedulers", "milestones"))
    if schedulers is None:
        return One(scheduler, group)
    return Together(schedulers, group) if milestones is None else InTurn(schedulers, milestones, group)


class Recursion:
    """Rates and momenta of a combination, step by step, as far as somebody asked."""

    def __init__(self, scheduler: Any) -> None:
        self.group: Group = {"lr": next(iter(rates(scheduler)), 0.0), "momentum": 0.0}
        self.running = running(scheduler, self.group)
        self.rows, self.lock = [self.row()], threading.Lock()
        self.error: Exception | None = None

    def row(self) -> tuple[float, float]:
        return self.group["lr"], self.group["momentum"]

    def upto(self, step: int) -> list[tuple[float, float]]:
        """The rows up to a step, fewer where a function of the user raised before it."""
        with self.lock, jax.ensure_compile_time_eval():
            while len(self.rows) <= step and self.error is None:
                try:
                    self.running.step()
                    self.rows.append(self.row())
                except Exception as error:  # whatever that function raises
                    self.error = error
        return self.rows

    def at(self, steps: NDArray[Any]) -> NDArray[Any]:
        """Raises: what a function of the user raises on the way."""
        last = int(steps.max(initial=0))
        rows = self.upto(last)
        if last >= len(rows) and self.error is not None:
            raise self.error
        found: NDArray[Any] = np.asarray(rows[: last + 1])[steps]
        return found


def rates(scheduler: Any) -> list[Any]:
    """The rates that the schedulers of a combination were given; some take none."""
    if hasattr(scheduler, "schedulers"):
        return [lr for part in scheduler.schedulers for lr in rates(part)]
    return [scheduler.lr] if hasattr(scheduler, "lr") else []


@lru_cache(maxsize=256)
def recursion(scheduler: Any) -> Recursion:
    with jax.ensure_compile_time_eval():
        return Recursion(scheduler)


class Followed(Schedule):
    """The rate (column 0) or momentum (column 1) of a combination, by its recursion.

    A table of `STEPS` steps where the count is traced; a callback where numbers of the schedulers are.
    """

    scheduler: Child[Schedule]
    column: int = 0

    def __call__(self, count: Any) -> Any:
        steps = jnp.clip(jnp.asarray(count), 0, STEPS - 1).astype(int)
        numbers, structure = jax.tree.flatten(self.scheduler, lambda x: isinstance(x, Pair))
        dtype = jnp.zeros((), float).dtype
        if any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(numbers)):

            def each(numbers: list[Any], steps: Any) -> Any:
                plain = [float(x.value if isinstance(x, Pair) else x) for x in numbers]
                known = recursion(jax.tree.unflatten(structure, plain))
                return np.asarray(known.at(np.asarray(steps))[..., self.column], dtype)

            out = jax.ShapeDtypeStruct(steps.shape, dtype)
            return jax.pure_callback(each, out, numbers, steps, vmap_method="sequential")
        known = recursion(self.scheduler)
        if not isinstance(steps, jax.core.Tracer):
            return jnp.asarray(known.at(np.asarray(steps))[..., self.column], dtype)
        table = np.asarray(known.upto(STEPS - 1))[:, self.column]
        return jnp.asarray(table, dtype)[jnp.minimum(steps, len(table) - 1)]
