"""Train in several processes, each with a part of the optimizer's state, and go on with another number of devices.

    python examples/train_processes.py [--processes 2] [--devices 2] [--steps 60] [--directory DIR]

Every process has some virtual devices; `jax.distributed` makes one mesh of all of them. The parameters are the same on
every device, the batch and AdamW's moments are split over all, and orbax saves both now and then. Run it again in the
same directory with other --processes and --devices: it goes on from the last checkpoint, on the same curve, as the data
of a step depend on its number alone. When a process is lost the others are ended too: start again with what is left.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradxform as gx

INPUTS, HIDDEN, OUTPUTS, BATCH = 64, 256, 8, 64


def init_params() -> Any:
    keys = jax.random.split(jax.random.key(0), 2)
    hidden = {"kernel": jax.random.normal(keys[0], (INPUTS, HIDDEN)) / INPUTS**0.5, "bias": jnp.zeros(HIDDEN)}
    return {"hidden": hidden, "out": {"kernel": jax.random.normal(keys[1], (HIDDEN, OUTPUTS)) / HIDDEN**0.5}}


def loss_fn(params: Any, x: Any, y: Any) -> Any:
    hidden = jax.nn.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return jnp.mean((hidden @ params["out"]["kernel"] - y) ** 2)


def data(step: int) -> tuple[np.ndarray, np.ndarray]:
    """The batch of a step: the same whatever devices there are."""
    x = np.random.default_rng(step).normal(size=(BATCH, INPUTS)).astype(np.float32)
    return x, np.sin(x[:, :OUTPUTS])


def train(given: argparse.Namespace) -> None:
    """What every process runs: the same program, on its own devices."""
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    whole, batch = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    tx = gx.sharded(gx.adamw(gx.cosine_decay_schedule(3e-3, 200)), mesh)

    def start() -> Any:
        params = init_params()
        return params, tx.init(params)

    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, state = tx.update(grads, state, params)
        return gx.apply_updates(params, updates), state, loss

    shapes = jax.eval_shape(start)
    lies = (jax.tree.map(lambda p: whole, shapes[0]), gx.state_shardings(tx, shapes[0], whole))
    run = jax.jit(step, donate_argnums=(0, 1), out_shardings=(*lies, whole))
    with ocp.CheckpointManager(given.directory.resolve(), options=ocp.CheckpointManagerOptions(max_to_keep=2)) as saved:
        done = saved.latest_step() or 0
        if done:
            wanted = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, lies)
            params, state = saved.restore(done, args=ocp.args.StandardRestore(wanted))
        else:
            params, state = jax.jit(start, out_shardings=lies)()
        for number in range(done + 1, given.steps + 1):
            x, y = (jax.make_array_from_callback(a.shape, batch, lambda i, a=a: a[i]) for a in data(number))
            params, state, loss = run(params, state, x, y)
            tell(f"step {number} on {jax.device_count()} devices: {float(loss):.8f}")
            if number % given.every == 0:
                saved.save(number, args=ocp.args.StandardSave((params, state)))
                saved.wait_until_finished()
            if given.lose_after == number:
                multihost_utils.sync_global_devices("every process has come so far")
                if jax.process_index() == jax.process_count() - 1:
                    os.kill(os.getpid(), signal.SIGKILL)
    here = sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(state))
    tell(f"{here} of {sum(x.nbytes for x in jax.tree.leaves(state))} bytes of state on each device")


def tell(words: str) -> None:
    if jax.process_index() == 0:
        print(words, flush=True)


def launch(given: argparse.Namespace) -> int:
    """Start the processes, wait, and leave none behind; the status of the first that fails, 124 if time runs out."""
    flags = f"--xla_force_host_platform_device_count={given.devices}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(given.processes):
            own = ["--process", str(number), "--port", str(port)]
            started.append(subprocess.Popen([sys.executable, __file__, *sys.argv[1:], *own], env=environment))
        return wait(started, time.monotonic() + given.timeout)
    finally:
        for process in started:
            process.kill()
            process.wait()


def wait(started: list[subprocess.Popen[bytes]], until: float) -> int:
    while time.monotonic() < until:
        ended = [process.poll() for process in started]
        failed = [status for status in ended if status]
        if failed or None not in ended:
            return abs(failed[0]) if failed else 0
        time.sleep(0.05)
    return 124


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--devices", type=int, default=2, help="of each process; all together must divide the batch")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--every", type=int, default=10, help="steps between checkpoints")
    parser.add_argument("--directory", type=Path, default=Path(__file__).parent / "output" / "processes")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds after which every process is ended")
    parser.add_argument("--lose-after", type=int, help="end the last process without warning after this step")
    parser.add_argument("--process", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if BATCH % (given.processes * given.devices):
        parser.error(f"a batch of {BATCH} cannot be split over {given.processes} x {given.devices} devices")
    if given.process is None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return launch(given)
    if given.processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"127.0.0.1:{given.port}", given.processes, given.process, initialization_timeout=60)
    train(given)
    return 0


if __name__ == "__main__":
    sys.exit(main())
