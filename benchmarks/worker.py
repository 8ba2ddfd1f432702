"""One library in one process: answers a line of JSON with a line of JSON.

`python -m benchmarks.worker NAME`, NAME one of gradxform, gradxform-packed, optax, torch-fused, torch-foreach;
the driver is `benchmarks.run`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import optimizers, shapes


def seconds(f: Any, *args: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = f(*args)
    return time.perf_counter() - start, result


@contextlib.contextmanager
def collected() -> Iterator[None]:
    """Python's collector runs before what is measured, not during it, as with `timeit`."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class JaxWorker:
    """gradxform or optax under JAX."""

    def __init__(self, name: str) -> None:
        import jax

        self.jax, self.library = jax, importlib.import_module(name.removesuffix("-packed"))
        self.packed = name.endswith("-packed")

    def device(self) -> str:
        return str(self.jax.devices()[0].device_kind)

    def load(self, tree: str, optimizer: str) -> dict[str, Any]:
        jax = self.jax
        jax.clear_caches()
        self.params = self.state = self.grads = self.compiled = None
        rng = np.random.default_rng(0)
        found = {k: np.asarray(rng.standard_normal(s), np.float32) for k, s in shapes.ALL[tree]().items()}
        self.params = {k: jax.device_put(0.02 * v) for k, v in found.items()}
        kind = jax.numpy.bfloat16 if "bfloat16" in optimizer else np.float32
        self.grads = {k: jax.device_put((0.01 * v).astype(kind)) for k, v in found.items()}
        self.tx = optimizers.jax_chain(self.library, optimizer)
        if self.packed:
            self.tx = self.library.packed(self.tx)
        self.state = self.tx.init(self.params)
        self.calls = optimizers.WINDOW if optimizer.startswith("accumulate") else 1
        return {"state_bytes": sum(x.nbytes for x in jax.tree.leaves(self.state))}

    def _step(self, params: Any, state: Any, grads: Any) -> Any:
        if getattr(self.tx, "lands", False):  # What touches no parameters between its steps, in a step of its own.
            return self.library.make_step(self.tx)(params, state, grads)
        updates, state = self.tx.update(grads, state, params)
        return self.library.apply_updates(params, updates), state

    def build(self) -> dict[str, Any]:
        """Trace and compile once, with the caches cleared."""
        self.jax.clear_caches()
        jitted = self.jax.jit(lambda *args: self._step(*args), donate_argnums=(0, 1))
        trace, lowered = seconds(lambda: jitted.lower(self.params, self.state, self.grads))
        compile_time, self.compiled = seconds(lowered.compile)
        memory = self.compiled.memory_analysis()
        return {"trace": trace, "compile": compile_time, "temp_bytes": memory.temp_size_in_bytes}

    def step(self, repeat: int) -> dict[str, Any]:
        with collected():
            return {"step": [seconds(self._run)[0] / self.calls for _ in range(repeat)]}

    def _run(self) -> None:
        for _ in range(self.calls):
            self.params, self.state = self.compiled(self.params, self.state, self.grads)
            self.jax.block_until_ready((self.params, self.state))

    def unjitted(self, repeat: int) -> dict[str, Any]:
        def update() -> Any:
            return self.jax.block_until_ready(self.tx.update(self.grads, self.state, self.params))

        update()
        with collected():
            return {"unjitted": [seconds(update)[0] for _ in range(repeat)]}


class TorchWorker:
    """torch's own optimizers, fused or foreach, with `clip_grad_norm_` where the chain clips."""

    def __init__(self, name: str) -> None:
        import torch

        self.torch, self.way = torch, name.removeprefix("torch-")

    def device(self) -> str:
        return "cuda" if self.torch.cuda.is_available() else "cpu"

    def load(self, tree: str, optimizer: str) -> dict[str, Any]:
        torch, rng = self.torch, np.random.default_rng(0)
        *clip, name = optimizer.split("+")
        self.clip = bool(clip)
        self.params = []
        for shape in shapes.ALL[tree]().values():
            values = torch.from_numpy(np.asarray(rng.standard_normal(shape), np.float32)).to(self.device())
            p = torch.nn.Parameter(0.02 * values)
            p.grad = 0.01 * values
            self.params.append(p)
        cls, kwargs = optimizers.TORCH[name]
        self.optimizer = getattr(torch.optim, cls)(self.params, lr=1e-3, **{self.way: True}, **kwargs)
        return {}

    def build(self) -> dict[str, Any]:
        self._run()
        return {}

    def step(self, repeat: int) -> dict[str, Any]:
        with collected():
            return {"step": [seconds(self._run)[0] for _ in range(repeat)]}

    def _run(self) -> None:
        if self.clip:
            self.torch.nn.utils.clip_grad_norm_(self.params, 1.0, foreach=True)
        self.optimizer.step()
        if self.device() == "cuda":
            self.torch.cuda.synchronize()


def main(name: str) -> None:
    worker = (TorchWorker if name.startswith("torch") else JaxWorker)(name)
    for line in sys.stdin:
        call, *args = json.loads(line)
        print(json.dumps(getattr(worker, call)(*args)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
