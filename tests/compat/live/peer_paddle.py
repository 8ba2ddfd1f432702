"""Paddle, live: `python -m tests.compat.live.peer_paddle record|go_on FOLDER RESULTS`, where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from tests.compat.live.peer import Arrays, serve
from tests.compat.live.words import function, predicate


def value(key: str, x: Any) -> Any:
    """An argument from what stands for it in a config."""
    if key == "lr_lambda":
        return function(x)
    if key in ("apply_decay_param_fun", "exclude_from_weight_decay_fn") and isinstance(x, str):
        return predicate(x)
    if not isinstance(x, dict) or "type" not in x:
        return x
    kind = next(getattr(home, x["type"]) for home in HOMES if hasattr(home, x["type"]))
    return kind(**{name: value(name, part) for name, part in x.items() if name != "type"})


HOMES = [paddle.optimizer.lr, paddle.regularizer, paddle.nn]


class PaddleRun:
    def __init__(self, config: dict[str, Any], params: Arrays) -> None:
        paddle.utils.unique_name.switch()
        self.leaves = {leaf: self.parameter(config, leaf, w) for leaf, w in params.items()}
        listed: Any = list(self.leaves.values())
        if config["groups"]:
            listed = [{key: value(key, x) for key, x in group.items()} for group in config["groups"]]
            for group in listed:
                group["params"] = [self.leaves[leaf] for leaf in group["params"]]
        kwargs = {key: value(key, x) for key, x in config["kwargs"].items()}
        self.opt = getattr(paddle.optimizer, config["optimizer"])(parameters=listed, **kwargs)
        self.scheduler = kwargs["learning_rate"] if not isinstance(kwargs["learning_rate"], float) else None

    @staticmethod
    def parameter(config: dict[str, Any], leaf: str, w: Any) -> Any:
        said = {key: value(key, x) for key, x in config["param_attr"].get(leaf, {}).items()}
        attribute = paddle.ParamAttr(name=leaf, initializer=paddle.nn.initializer.Assign(w), **said)
        found = paddle.create_parameter(list(w.shape), str(w.dtype), attr=attribute)
        found.stop_gradient = not said.get("trainable", True)
        return found

    def rate(self) -> float:
        return float(self.opt.get_lr())

    def step(self, grads: Arrays) -> None:
        loss = paddle.zeros([], "float64")
        for leaf, g in grads.items():
            if isinstance(g, tuple):
                rows = paddle.nn.functional.embedding(paddle.to_tensor(g[0]), self.leaves[leaf], sparse=True)
                loss = loss + (rows * paddle.to_tensor(g[1])).sum().astype("float64")
            elif g is not None:
                loss = loss + (self.leaves[leaf] * paddle.to_tensor(g)).sum().astype("float64")
        loss.backward()
        self.opt.step()
        self.opt.clear_grad(set_to_zero=False)
        if self.scheduler is not None:
            self.scheduler.step()

    def params(self) -> Arrays:
        return {leaf: np.array(w.numpy()) for leaf, w in self.leaves.items()}

    def saved(self) -> dict[str, Any]:
        return {key: x.numpy() if hasattr(x, "numpy") else x for key, x in self.opt.state_dict().items()}

    def load(self, saved: dict[str, Any]) -> None:
        tensors = {key: paddle.to_tensor(x) if isinstance(x, np.ndarray) else x for key, x in saved.items()}
        self.opt.set_state_dict(tensors)


if __name__ == "__main__":
    serve(PaddleRun)
