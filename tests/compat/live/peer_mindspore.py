"""MindSpore, live: `python -m tests.compat.live.peer_mindspore record|go_on FOLDER RESULTS`, where it is installed."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn
from mindspore.common.sparse_tensor import RowTensorInner
from mindspore.nn.optim import optimizer as stages
from mindspore.ops import operations

from tests.compat.live.peer import Arrays, serve

MEAN = operations.ReduceMean(keep_dims=True)
stages.op_gc = lambda g, axis: g - MEAN(g, tuple(axis))  # `Centralization` has no kernel for the CPU


class LinearSchedule(nn.learning_rate_schedule.LearningRateSchedule):
    def __init__(self, base: float, slope: float) -> None:
        super().__init__()
        self.base, self.slope = base, slope

    def construct(self, global_step: Any) -> Any:
        return self.base + self.slope * ms.ops.cast(global_step, ms.float32)


class LinearCell(nn.Cell):
    def __init__(self, base: float, slope: float) -> None:
        super().__init__()
        self.base, self.slope = base, slope

    def construct(self, global_step: Any) -> Any:
        return self.base + self.slope * ms.ops.cast(global_step, ms.float32)


class Step(nn.Cell):
    """A step with row tensors, which only compiled code can make."""

    def __init__(self, opt: Any, shapes: Any) -> None:
        super().__init__(auto_prefix=False)
        self.opt, self.shapes = opt, shapes

    def construct(self, *grads: Any) -> Any:
        whole = ()
        for shape, g in zip(self.shapes, grads):  # noqa: B905
            whole = (*whole, RowTensorInner(g[0], g[1], shape) if isinstance(g, tuple) else g)
        return self.opt(whole)


def value(x: Any) -> Any:
    """An argument from what stands for it in a config."""
    if not isinstance(x, dict):
        return x
    kind, rest = x["type"], {key: part for key, part in x.items() if key != "type"}
    vectors = {"list": list, "tuple": tuple, "generator": iter, "ndarray": np.float32}
    if kind in vectors:
        return vectors[kind](rest["values"])
    if kind == "Tensor":
        return Tensor(np.asarray(rest.get("values", rest.get("value")), np.float32))
    own = {"linear_in_step_schedule": LinearSchedule, "linear_in_step_cell": LinearCell}
    return own.get(kind, getattr(nn, kind, None))(**rest)


class MindSporeRun:
    def __init__(self, config: dict[str, Any], params: Arrays) -> None:
        sparse = bool(config["sparse_leaves"])
        ms.set_context(mode=ms.GRAPH_MODE if sparse else ms.PYNATIVE_MODE)
        self.leaves = {leaf: Parameter(Tensor(w), name=leaf) for leaf, w in params.items()}
        listed: Any = list(self.leaves.values())
        if config["groups"]:
            listed = [{key: value(x) for key, x in group.items()} for group in config["groups"]]
            for group in listed:
                for key in {"params", "order_params"} & group.keys():
                    group[key] = [self.leaves[leaf] for leaf in group[key]]
        kwargs = {key: value(x) for key, x in config["kwargs"].items()}
        self.opt = getattr(nn, config["optimizer"])(listed, **kwargs)
        if sparse and config["target"]:
            self.opt.target = config["target"]
        self.order = [p.name for p in self.opt.parameters]
        self.call = Step(self.opt, [self.leaves[leaf].shape for leaf in self.order]) if sparse else None

    def rate(self) -> None:
        return None

    def step(self, grads: Arrays) -> None:
        def tensor(g: Any) -> Any:
            return tuple(map(Tensor, g)) if isinstance(g, tuple) else Tensor(g)

        ordered = tuple(tensor(grads[leaf]) for leaf in self.order)
        if self.call is None:
            self.opt(ordered)
        else:
            self.call(*ordered)

    def params(self) -> Arrays:
        return {leaf: w.asnumpy().copy() for leaf, w in self.leaves.items()}

    def saved(self) -> dict[str, Any]:
        return {p.name: p.asnumpy() for p in self.opt.get_parameters()}

    def load(self, saved: dict[str, Any]) -> None:
        given = {name: Parameter(Tensor(x), name=name) for name, x in saved.items()}
        ms.load_param_into_net(self.opt, given)


if __name__ == "__main__":
    serve(MindSporeRun)
