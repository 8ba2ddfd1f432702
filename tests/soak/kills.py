"""Training that is killed at random moments, in mid-save too, and goes on: it ends where an undisturbed run ends."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradxform as gx

STEPS, EVERY = 60, 4
"""Saves fall into the middle of windows of 3."""
ADAMW = gx.adamw(gx.cosine_decay_schedule(3e-2, STEPS), weight_decay=0.1)
RUNS: dict[str, Callable[[], Any]] = {
    "float32": lambda: gx.chain(gx.clip_by_global_norm(1.0), ADAMW),
    "int8": lambda: gx.stored_as("int8", ADAMW, min_size=0),
    "accumulate": lambda: gx.accumulate(ADAMW, every=3),
    "loss scale": lambda: gx.dynamic_loss_scale(ADAMW, window=5),
    "schedule-free": lambda: gx.schedule_free_adamw(3e-2, 10),
    "noise": lambda: gx.chain(gx.add_noise(0.1, 0.55, key=3), gx.sgd(0.1, 0.9)),
    "guard(lookahead)": lambda: gx.guard(gx.lookahead(gx.momentum(0.1), 3, 0.5), spike=6.0),
    "tunables": lambda: gx.adamw(gx.tunable(1e-2), b1=gx.tunable(0.8)),
    "muon": lambda: gx.muon(1e-2, weight_decay=0.1),
    "sharded": lambda: ADAMW,
    "sharded, 4 of 8": lambda: ADAMW,
}
"""The last two on 8 devices; in the last one every other life has 4, and sums over devices are other sums."""


def batch(step: int) -> Any:
    x = np.random.default_rng(step).standard_normal((16, 8)).astype(np.float32)
    return x, np.sin(x[:, :4])


def loss_fn(params: Any, x: Any, y: Any) -> Any:
    return jnp.mean((jnp.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"]) @ params["out"] - y) ** 2)


def start() -> Any:
    rng = np.random.default_rng(0)
    hidden = {"kernel": jnp.asarray(0.3 * rng.standard_normal((8, 16)), jnp.float32), "bias": jnp.zeros(16)}
    return {"hidden": hidden, "out": jnp.asarray(0.3 * rng.standard_normal((16, 4)), jnp.float32)}


def live(name: str, folder: str, devices: int) -> None:
    """One life: from the last checkpoint to the end, where the parameters are written."""
    jax.config.update("jax_num_cpu_devices", devices)
    jax.config.update("jax_platforms", "cpu")
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))
    whole = NamedSharding(mesh, PartitionSpec())
    tx = gx.sharded(RUNS[name](), mesh) if name.startswith("sharded") else RUNS[name]()

    def begin() -> Any:
        params = start()
        return params, tx.init(params)

    @jax.jit
    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        def objective(p: Any) -> Any:
            loss = loss_fn(p, x, y)
            return gx.scale_loss(state, loss) if name == "loss scale" else loss

        updates, state = tx.update(jax.grad(objective)(params), state, params)
        return gx.apply_updates(params, updates), state

    shapes = jax.eval_shape(begin)
    lies = (jax.tree.map(lambda p: whole, shapes[0]), gx.state_shardings(tx, shapes[0], whole))
    options = ocp.CheckpointManagerOptions(max_to_keep=2)
    with ocp.CheckpointManager(Path(folder, "saved").resolve(), options=options) as saved:
        done = saved.latest_step() or 0
        if done:
            wanted = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, lies)
            params, state = saved.restore(done, args=ocp.args.StandardRestore(wanted))
        else:
            params, state = jax.jit(begin, out_shardings=lies)()
        for count in range(done + 1, STEPS + 1):
            x, y = (jax.device_put(a, NamedSharding(mesh, PartitionSpec("data"))) for a in batch(count))
            params, state = step(params, state, x, y)
            if count % EVERY == 0:
                saved.save(count, args=ocp.args.StandardSave((params, state)))
    np.savez(Path(folder, "end.npz"), *map(np.asarray, jax.tree.leaves(gx.eval_params(tx, state, params))))


def _lives() -> Any:
    """Processes that begin where the imports are done."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "orbax.checkpoint"])
    return context


def end(name: str, wait: Callable[[Any, Path], None] | None = None, most: int = 5) -> tuple[list[Any], int]:
    """What a run ends with, and how often it was killed: when wait(life, folder) comes back; without it, never."""
    devices = [8, 4 if name == "sharded, 4 of 8" else 8] if name.startswith("sharded") else [1, 1]
    kills = 0
    with tempfile.TemporaryDirectory() as folder:
        while True:
            life = _lives().Process(target=live, args=(name, folder, devices[kills % 2]))
            life.start()
            if wait is None or kills >= most:
                life.join()
            else:
                wait(life, Path(folder))
            if life.is_alive():
                life.kill()
                life.join()
                kills += 1
                continue
            assert life.exitcode == 0, f"{name}: a life after {kills} kills ends with {life.exitcode}"
            with np.load(Path(folder, "end.npz")) as found:
                return [found[key] for key in found.files], kills


def soak(seed: int) -> Counter[str]:
    """One run that is killed at random, and one that is not."""
    rng = np.random.default_rng(seed)
    name = sorted(RUNS)[seed % len(RUNS)]
    began = time.monotonic()
    whole, _ = end(name)
    seconds = time.monotonic() - began
    found, kills = end(name, lambda life, folder: life.join(rng.uniform(0.1, 1.0) * seconds))
    for x, y in zip(found, whole, strict=True):
        if name == "sharded, 4 of 8":
            np.testing.assert_allclose(x, y, atol=1e-6, err_msg=name)  # sums of 16 numbers in another order, 60 steps
        else:
            np.testing.assert_array_equal(x, y, err_msg=name)
    return Counter({"kills": kills, "runs": 1, f"kills of {name}": kills})
