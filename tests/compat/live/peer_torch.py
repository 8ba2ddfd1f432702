"""torch, live: `python -m tests.compat.live.peer_torch record|go_on FOLDER RESULTS`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.compat.live.peer import Arrays, serve
from tests.compat.live.words import function


def value(key: str, x: Any) -> Any:
    if key == "lr_lambda":
        return function(x)
    return torch.tensor(0.1) if x == "Tensor(0.1)" else x


class TorchRun:
    def __init__(self, config: dict[str, Any], params: Arrays) -> None:
        self.leaves = {leaf: torch.tensor(w, requires_grad=True) for leaf, w in params.items()}
        groups = config["groups"] or [{"params": list(params)}]
        self.order = [leaf for group in groups for leaf in group["params"]]
        listed = [{**group, "params": [self.leaves[leaf] for leaf in group["params"]]} for group in groups]
        kwargs = {key: value(key, x) for key, x in config["kwargs"].items()}
        self.opt = getattr(torch.optim, config["optimizer"])(listed, **kwargs)
        spec = config["lr_schedule"]
        self.scheduler, self.half = self.made(spec) if spec else None, config["half"]

    def made(self, spec: dict[str, Any]) -> Any:
        fields = {key: value(key, x) for key, x in spec.items() if key != "type"}
        if "schedulers" in fields:
            fields["schedulers"] = [self.made(part) for part in fields["schedulers"]]
        if spec["type"] == "ChainedScheduler":
            return torch.optim.lr_scheduler.ChainedScheduler(fields["schedulers"], self.opt)
        return getattr(torch.optim.lr_scheduler, spec["type"])(self.opt, **fields)

    def rate(self) -> list[float]:
        return [float(group["lr"]) for group in self.opt.param_groups]

    def step(self, grads: Arrays) -> None:
        for leaf, g in grads.items():
            w = self.leaves[leaf]
            if isinstance(g, tuple):
                w.grad = torch.sparse_coo_tensor(torch.tensor(g[0])[None].long(), torch.tensor(g[1]), w.shape)
            else:
                w.grad = None if g is None else torch.tensor(g)
        self.opt.step()
        if self.scheduler is not None:
            self.scheduler.step()

    def params(self) -> Arrays:
        return {leaf: w.detach().numpy().copy() for leaf, w in self.leaves.items()}

    def saved(self) -> dict[str, Any]:
        entries = self.opt.state_dict()["state"]
        return {
            f"{i}.{name}": np.asarray(x.detach() if torch.is_tensor(x) else x)
            for i, entry in entries.items()
            for name, x in entry.items()
            if x is not None
        }

    def load(self, saved: dict[str, Any]) -> None:
        for _ in range(self.half if self.scheduler is not None else 0):
            self.scheduler.step()
        state: dict[int, Any] = {}
        for key, x in saved.items():
            i, name = key.split(".", 1)
            state.setdefault(int(i), {})[name] = torch.as_tensor(x)
        self.opt.load_state_dict({**self.opt.state_dict(), "state": state})


if __name__ == "__main__":
    serve(TorchRun)
