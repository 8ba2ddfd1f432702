"""State and update in parts, one for each device along a mesh axis: ZeRO, stage 1."""

from __future__ import annotations

from typing import ClassVar

import jax
from jax.sharding import PartitionSpec

from gradxform.core import check
from gradxform.core.branches import Inside
from gradxform.core.chain import Chain, stages_of
from gradxform.core.claims import looks_farther
from gradxform.core.devices import axis_names, varying_axes
from gradxform.core.facts import Reach
from gradxform.core.rows import Rows
from gradxform.core.stage import NO_NAMES, Names, Step
from gradxform.core.tree import Leaf
from gradxform.core.types import AxisName, Memory, Mesh, Number, Param, Shardings, Transformation
from gradxform.core.walk import run_pending
from gradxform.strategies.layout import Layout, check_mesh, laid_out, of_parameter, refuse_strays, specs_by_path, ways
from gradxform.strategies.packed import Packing
from gradxform.strategies.parts import ByCompiler, ByHand, Way, is_explicit, is_manual, joined, spec_at_hand


class Sharding(Inside):
    """A stage: the inner chain on a part of every leaf on each device along an axis."""

    mesh: Mesh
    axis: AxisName = "data"
    told: tuple[tuple[str, PartitionSpec], ...] | None = None
    """The layouts of the parameters by path, where the user gave them."""
    label: str | None = None
    taken: Names = NO_NAMES
    name: ClassVar[str] = "sharded"

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}={size}" for name, size in self.mesh.shape.items())
        return f"sharded({self.chain!r}, mesh({sizes}), {self.axis!r})"

    @property
    def is_trivial(self) -> bool:
        return ways(self.mesh, self.axis) == 1

    def init(self, name: str, leaves: list[Leaf], step: Step) -> None:
        there = not any(isinstance(leaf.p, jax.core.Tracer | jax.ShapeDtypeStruct) for leaf in leaves)
        if self.told is not None:
            refuse_strays(dict(self.told), step.params, "param_shardings")
        if self.is_trivial:
            self.chain.init_stages(leaves, step, self.taken)
        elif there and not is_manual(self.axis):
            self._init_compiled(leaves, step)
        else:
            self._init_parts(leaves, step)

    def _init_compiled(self, leaves: list[Leaf], step: Step) -> None:
        """Outside of any trace the compiler makes each part where it will lie."""
        for leaf in leaves:
            self._refuse_untold(leaf)

        def made(ps: list[Param]) -> tuple[list[dict[str, Memory]], dict[str, Memory], dict[str, Number]]:
            new = [Leaf(leaf.path, None, p, {}) for leaf, p in zip(leaves, ps, strict=True)]
            for leaf, inner in zip(leaves, new, strict=True):
                inner.frozen = leaf.frozen
            alone = step._replace(tree={}, hyper={})
            self._init_parts(new, alone)
            return [leaf.memory for leaf in new], alone.tree, alone.hyper

        memories, tree, hyper = jax.jit(made)([leaf.p for leaf in leaves])
        self.chain.hold(leaves, step, self.taken)
        step.tree.update(tree)
        step.hyper.update(hyper)
        for leaf, memory in zip(leaves, memories, strict=True):
            leaf.memory.update(memory)

    def _init_parts(self, leaves: list[Leaf], step: Step) -> None:
        way, layouts = self._ways(leaves, step)
        ps = [leaf.p for leaf in leaves]
        for leaf, layout in zip(leaves, layouts, strict=True):
            leaf.p = leaf.p if layout is None else way.part(leaf.p, layout)
        self.chain.init_stages(leaves, step, self.taken)
        self._keep(way, layouts, leaves, step)
        for leaf, p in zip(leaves, ps, strict=True):
            leaf.p = p

    def update(self, name: str, leaves: list[Leaf], step: Step) -> None:
        if self.is_trivial:
            self.chain.update_stages(leaves, step, self.taken)
            return
        run_pending(leaves)
        way, layouts = self._ways(leaves, step)
        ps, extras = [leaf.p for leaf in leaves], [leaf.extras for leaf in leaves]
        for leaf, layout in zip(leaves, layouts, strict=True):
            if layout is not None:
                shape = leaf.array.shape
                leaf.extras = {
                    name: way.gradient(x, layout) if x.shape == shape else x for name, x in leaf.extras.items()
                }
                leaf.g = way.gradient(leaf.g, layout)
                leaf.p = way.part(leaf.p, layout)
        self.chain.update_stages(leaves, step, self.taken)
        run_pending(leaves)
        self._keep(way, layouts, leaves, step)
        for leaf, p, own, layout in zip(leaves, ps, extras, layouts, strict=True):
            leaf.g = leaf.g if layout is None else joined(way, leaf.g, layout, p, leaf.p)
            leaf.p, leaf.extras = p, own

    def evaluate(self, name: str, leaves: list[Leaf], step: Step) -> None:
        if self.is_trivial:
            self.chain.evaluate_stages(leaves, step, self.taken)
            return
        way, layouts = self._ways(leaves, step)
        for leaf, layout in zip(leaves, layouts, strict=True):
            leaf.p = leaf.p if layout is None else way.part(leaf.p, layout)
        self.chain.evaluate_stages(leaves, step, self.taken)
        for leaf, layout in zip(leaves, layouts, strict=True):
            leaf.p = leaf.p if layout is None else way.whole(leaf.p, layout)

    def _ways(self, leaves: list[Leaf], step: Step) -> tuple[Way, list[Layout | None]]:
        """How parts are made here, and the layout of every leaf; None for what is no array."""
        layouts = [None if leaf.array is None else self.layout(leaf) for leaf in leaves]
        if not is_manual(self.axis):
            others = self.mesh.size > ways(self.mesh, self.axis)
            traced = any(isinstance(leaf.array, jax.core.Tracer) for leaf in leaves)
            return ByCompiler(self.mesh, self.axis, self.told is not None or not (others and traced)), layouts
        for leaf, layout in zip(leaves, layouts, strict=True):
            if layout is not None:
                self._refuse_part(leaf, layout, step)
        return ByHand(self.mesh, self.axis), layouts

    def layout(self, leaf: Leaf) -> Layout:
        shape = leaf.array.shape
        spec = spec_at_hand(leaf, is_explicit(self.mesh, self.axis) and not is_manual(self.axis))
        if self.told is not None:
            spec = of_parameter(leaf.path, shape, dict(self.told))
        return laid_out(shape, spec or (), self.mesh, self.axis)

    def _keep(self, way: Way, layouts: list[Layout | None], leaves: list[Leaf], step: Step) -> None:
        names = self.inner_names()
        for leaf, layout in zip(leaves, layouts, strict=True):
            if layout is not None:
                leaf.memory |= {n: way.memory(m, layout) for n, m in leaf.memory.items() if n in names}
        by_path = {leaf.path: layout for leaf, layout in zip(leaves, layouts, strict=True) if layout is not None}
        for key in step.tree:
            if key.rsplit("/", 1)[-1] in names:
                step.tree[key] = way.tree(key, step.tree[key], by_path, step.whole)

    def _refuse_untold(self, leaf: Leaf) -> None:
        spec = None if leaf.array is None or is_explicit(self.mesh, self.axis) else spec_at_hand(leaf, False)
        if self.told is None and any(spec or ()):
            raise ValueError(
                f"sharded sees {leaf.path!r} laid out as {spec}, which is lost under jit; give param_shardings"
            )

    def _refuse_part(self, leaf: Leaf, layout: Layout, step: Step) -> None:
        """Inside `shard_map`: refuse what would see one device's part only, or parts of parts."""
        names = axis_names(self.axis)
        if isinstance(leaf.g, Rows):
            raise ValueError(
                f"sharded takes dense gradients inside shard_map, and {leaf.path!r} has Rows: use .dense()"
            )
        if layout.split is None:
            return
        if varying_axes(leaf.p) & set(names):
            raise ValueError(
                f"sharded cannot split {leaf.path!r}, which is split over {self.axis!r} already; give param_shardings"
            )
        inside = [x for x in step.plan.through(leaf.path) if x[0].rsplit("/", 1)[-1] in self.inner_names()]
        far = next((key for key, rule in inside if rule.facts.reach != Reach.ELEMENT or looks_farther(rule)), None)
        if far is not None:
            raise ValueError(
                f"sharded cannot split {leaf.path!r} inside shard_map: {far} looks at more than one element; run it "
                f"under jit, or leave that stage outside: chain({far}(...), sharded(...))"
            )


def _refuse_inside(chain: Chain) -> None:
    for stage in chain.stages:
        if isinstance(stage, Packing):
            raise ValueError("sharded cannot split the buffers that packed shares: write packed(sharded(...))")
        if isinstance(stage, Sharding):
            raise ValueError(f"{stage!r} is sharded already; name all axes in one: axis=('data', 'model')")
        for _, part, _ in stage.parts():
            _refuse_inside(part)


def sharded(tx: Transformation, mesh: Mesh, axis: AxisName = "data", *, param_shardings: Shardings = None) -> Chain:
    """Keep on each device along `axis` its part of the state alone, and compute its part of the update there (ZeRO-1).

    Each leaf is split along its first dimension that divides evenly and that nothing else splits; the others stay
    whole. Where `apply_updates` follows in the same trace (`make_step`) it adds part by part and gathers the new
    parameters, in their dtype; whatever else reads the updates has these gathered. State never is. Under `jit` this
    holds for Auto and Explicit axes, and results are those without it; inside `shard_map` parameters are whole on each
    device, gradients may be each device's own (their mean is taken, part by part) or averaged already, and stages must
    be elementwise.
    param_shardings: how parameters lie over other axes, a tree of shardings or specs (or one for a subtree); needed
    where Auto axes share them.
    Reach: that of the stages. State: as without it; `state_shardings` says how it lies.
    Raises: TypeError for no mesh or transformation, ValueError for an unknown axis, or a stage that cannot be split.
    Source: Rajbhandari et al. 2020, arXiv:1910.02054, section 5.1.
    """
    check.axis(axis=axis)
    check_mesh(mesh, axis)
    inner = Chain(stages_of(tx, "tx"))
    _refuse_inside(inner)
    told = None
    if param_shardings is not None:
        told = tuple(sorted(specs_by_path(param_shardings, "param_shardings").items()))
    return Chain((Sharding(inner, mesh, axis, told),))
