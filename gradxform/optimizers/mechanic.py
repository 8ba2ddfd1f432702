"""Mechanic: the scale of another optimizer's steps, learned while it runs."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import cast, compute_dtype, root
from gradxform.core.branches import Inside
from gradxform.core.chain import Chain, lift, stages_of
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Hyper
from gradxform.core.norms import norm_of, total
from gradxform.core.rows import Rows
from gradxform.core.rule import TreeRule
from gradxform.core.sizes import squarable
from gradxform.core.stage import NO_NAMES, Names, Step
from gradxform.core.tree import Leaf
from gradxform.core.types import Array, AxisName, Count, Scalars, Transformation
from gradxform.core.walk import run_pending


class Start(NamedTuple):
    """x0: what p was at first."""

    x0: Array


class Wealth(NamedTuple):
    """r, m, v, s, for each rate of forgetting: reward, largest product, the sum of their squares, scale."""

    r: Array
    m: Array
    v: Array
    s: Array


class LearnScale(TreeRule):
    weight_decay: Hyper = 1e-2
    eps: Hyper = 1e-8
    s_init: Hyper = 1e-6
    num_betas: int = 6
    axis_name: AxisName | None = None
    facts = Facts(
        reach=Reach.TREE, station=Station.LAND, needs_params=True, needs=("grads",), real_only=True,
        measures_memory=True,
    )  # fmt: skip

    def check(self) -> None:
        check.nonnegative(weight_decay=self.weight_decay)
        check.divisor(eps=self.eps)
        check.positive(s_init=self.s_init)
        check.integer(1, num_betas=self.num_betas)
        check.axis_or_none(axis_name=self.axis_name)

    def init(self, p: Array) -> Start:
        return Start(p)

    def init_tree(self, ps: list[Array]) -> Wealth:
        zeros = jnp.zeros(self.num_betas, float)
        return Wealth(zeros, jnp.copy(zeros), jnp.copy(zeros), zeros + self.s_init)

    def measure(
        self, gs: list[Array], s: Wealth, t: Count, grads: Any = (), ps: Any = (), ms: Any = ()
    ) -> tuple[Scalars, Wealth]:
        scale, n = s.s.sum(), sum(p.size for p in ps)
        grads = [squarable(cast(g, compute_dtype(g.dtype)), n) for g in grads]
        gone = [(m.x0 - p) / (scale + self.eps) for m, p in zip(ms, ps, strict=True)]
        along, back = ([jnp.sum(x * d) for x, d in zip(xs, gone, strict=True)] for xs in (grads, ps))
        g, p = norm_of(grads, self.axis_name), norm_of(ps, self.axis_name)
        h = total(along, self.axis_name)
        h += self.weight_decay * scale * g / (p + self.eps) * total(back, self.axis_name)
        betas = 1 - 0.1 ** jnp.arange(1.0, self.num_betas + 1)
        m, v = jnp.maximum(betas * s.m, jnp.abs(h) + self.eps), betas**2 * s.v + h**2
        r = betas * s.r + jnp.clip(h, -s.m, s.m) * s.s
        new = (self.s_init / self.num_betas * m + jnp.maximum(r, 0.0)) / (root(v) + self.eps)
        return (new.sum(), 1 - new.sum() / (scale + self.eps)), Wealth(r, m, v, new)

    def update(self, g: Array, s: Start, p: Array, k: Scalars) -> tuple[Array, Start]:
        scale, back = k
        return back * (s.x0 - p) + scale * g, s


class Mechanized(Inside):
    """A stage: a chain that ends in a rule which sees the gradients that the chain began with."""

    label: str | None = None
    taken: Names = NO_NAMES
    name: ClassVar[str] = "mechanize"

    def __repr__(self) -> str:
        return f"mechanize({self.chain!r})"

    def init(self, name: str, leaves: list[Leaf], step: Step) -> None:
        self.chain.init_stages(leaves, step, self.taken)

    def update(self, name: str, leaves: list[Leaf], step: Step) -> None:
        run_pending(leaves)
        self.chain.hold(leaves, step, self.taken)
        grads = [leaf.g.dense() if isinstance(leaf.g, Rows) else leaf.g for leaf in leaves if leaf.moves]
        self.chain.update_stages(leaves, step._replace(extra={**step.extra, "grads": grads}), self.taken)

    def evaluate(self, name: str, leaves: list[Leaf], step: Step) -> None:
        self.chain.evaluate_stages(leaves, step, self.taken)


def mechanize(
    base_optimizer: Transformation, weight_decay: Hyper = 1e-2, eps: Hyper = 1e-8, s_init: Hyper = 1e-6,
    num_betas: int = 6, *, axis_name: AxisName | None = None,
) -> Chain:  # fmt: skip
    """Learn the scale of an optimizer's steps: `p <- x₀ + S·Δ`, Δ the sum of its updates, S bet on `⟨g, Δ⟩`.

    The optimizer keeps its schedule, whose rate may be any. weight_decay: adds p, at this share of |g|, to the g that S
    is bet on. num_betas: S is a sum over sums that forget by 0.9, 0.99, ... axis_name: axes of `shard_map` over which
    leaves are split. As in optax, which the authors wrote; their torch code bounds no bet, and starts from s_init 1e-8.
    Reach: tree. State: beside the optimizer's, x0 (p at first), shaped like p, float32 or wider; in `tree` r, m, v, s,
    shaped (num_betas,).
    Raises: TypeError if base_optimizer is no transformation, ValueError for arguments out of range, missing params.
    Source: Cutkosky et al. 2023, arXiv:2306.00144, algorithm 1.
    """
    tuner = lift(LearnScale(weight_decay, eps, s_init, num_betas, axis_name))
    return Chain((Mechanized(Chain((*stages_of(base_optimizer, "base_optimizer"), *tuner.stages))),))
