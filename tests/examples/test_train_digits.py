"""The example programs, briefly, through their entry points; what they must reach is checked where they run in full."""

from __future__ import annotations

import importlib
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx

for needed in ("sklearn", "matplotlib", "rich"):
    pytest.importorskip(needed)

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("train_digits")


@pytest.fixture
def devices(digits: Any) -> Any:
    return importlib.import_module("train_digits_pmap")


@pytest.fixture
def float64() -> Iterator[None]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def count(params: Any) -> int:
    return sum(x.size for x in jax.tree.leaves(params))


def test_split_is_four_to_one_for_every_digit_and_loses_no_image(digits: Any) -> None:
    from sklearn.datasets import load_digits

    train, test = digits.load_split()
    for digit in range(10):
        here, there = np.sum(train.labels == digit), np.sum(test.labels == digit)
        assert abs(there - 0.2 * (here + there)) < 1
    whole = np.concatenate([train.images, test.images]).reshape(-1, 64)
    pixels = load_digits().data / 16
    assert np.array_equal(whole[np.lexsort(whole.T)], pixels[np.lexsort(pixels.T)])
    assert np.array_equal(test.images, digits.load_split()[1].images)


def test_an_epoch_has_every_image_at_most_once_and_the_next_another_order(digits: Any) -> None:
    images = np.arange(500.0).reshape(-1, 1, 1, 1)
    data = digits.Digits(images, np.arange(500))
    first, second = ([batch.labels for batch in epoch] for epoch in digits.shuffled(data, 2, seed=3))
    for epoch in (first, second):
        assert [len(labels) for labels in epoch] == [digits.BATCH] * (500 // digits.BATCH)
        assert len(np.unique(epoch)) == np.size(epoch)
    assert not np.array_equal(first, second)
    again = next(digits.shuffled(data, 1, seed=3))
    assert np.array_equal(first, [batch.labels for batch in again])
    assert all(np.array_equal(batch.images.ravel(), batch.labels) for batch in again)


def test_weight_decay_reaches_the_kernels_alone(digits: Any) -> None:
    params = jax.tree.map(jnp.ones_like, digits.init_params(0))
    tx = gx.add_decayed_weights(1.0, gx.weights_only)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    decayed = {(layer, name) for layer, part in updates.items() for name, u in part.items() if np.any(u)}
    assert decayed == {(layer, "kernel") for layer in ("conv1", "conv2", "dense1", "dense2")}


def test_without_output_weights_the_loss_is_that_of_guessing(digits: Any) -> None:
    params = digits.init_params(0)
    params["dense2"]["kernel"] = jnp.zeros_like(params["dense2"]["kernel"])
    assert float(digits.loss(params, digits.load_split()[1])) == pytest.approx(math.log(10), rel=1e-6)


@pytest.mark.slow
def test_one_epoch_ends_in_table_picture_and_a_sentence_of_what_is_missing(
    digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit, match=r"^AdamW reached a test accuracy of 0\.\d{4}; at least 0\.97 was asked\.$"):
        digits.main(["--epochs", "1", "--seed", "1", "--out", str(tmp_path / "new")])
    picture = tmp_path / "new" / "digits.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert str(picture) in said
    n = count(digits.init_params(0))
    for name, copies in {"AdamW": 2, "Nesterov": 1, "proximal Adagrad": 1}.items():
        row = next(line for line in said.splitlines() if f"│ {name}" in line)
        assert f" {4 * copies * n + 4:,} " in row  # float32 statistics like the parameters, and an int32 counter


@pytest.mark.slow
def test_training_learns_and_the_proximal_run_alone_makes_zeros(digits: Any) -> None:
    reports: list[tuple[float, float]] = []
    epochs = 3
    steps = epochs * (len(digits.load_split()[0].labels) // digits.BATCH)
    chains = {"adamw": digits.adamw_chain(steps), "nesterov": digits.nesterov_chain(), "l1": digits.proximal_chain()}
    runs = {k: digits.train(tx, epochs, 0, lambda *report: reports.append(report)) for k, tx in chains.items()}
    for name, run in runs.items():
        assert run.losses.shape == (epochs, steps // epochs)
        assert run.losses[-1].mean() < run.losses[0].mean() / 2, name
        assert run.accuracy > 0.5, name  # a guess is right one time in ten
    assert [runs[name].zeros > 0 for name in chains] == [False, False, True]
    assert reports[2::3] == [(pytest.approx(run.losses[-1].mean()), run.accuracy) for run in runs.values()]


def test_shortfall_names_what_was_missed(digits: Any) -> None:
    def run(accuracy: float, zeros: float) -> Any:
        return digits.Run(np.zeros((1, 1)), accuracy, zeros, 1.0, 0)

    assert digits.shortfall({"AdamW": run(0.97, 0.0), "proximal Adagrad": run(0.93, 0.5)}) is None
    assert "AdamW" in digits.shortfall({"AdamW": run(0.96, 0.0), "proximal Adagrad": run(0.93, 0.5)})
    assert "at least 0.93" in digits.shortfall({"AdamW": run(0.97, 0.0), "proximal Adagrad": run(0.92, 0.5)})
    assert "at least 50%" in digits.shortfall({"AdamW": run(0.97, 0.0), "proximal Adagrad": run(0.93, 0.49)})


@pytest.mark.parametrize("wrong", [["--epochs", "0"], ["--seed", "-1"], ["--epochs", "many"]])
def test_bad_options_are_refused(digits: Any, capsys: pytest.CaptureFixture[str], wrong: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        digits.main(wrong)
    assert wrong[0] in capsys.readouterr().err


@pytest.mark.slow
def test_four_devices_as_a_program_of_its_own() -> None:
    own = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    program = [sys.executable, "-W", "error", str(EXAMPLES / "train_digits_pmap.py"), "--epochs", "1"]
    done = subprocess.run(program, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "are equal to accumulated rounding" in done.stdout


@pytest.mark.slow
def test_in_float64_one_and_four_devices_agree_to_its_rounding(devices: Any, float64: None) -> None:
    from rich.console import Console

    runs = devices.train_all(Console(quiet=True), epochs=2, seed=5)
    # A loss near 3 is stored to 4e-16, and 28 steps amplify it; float32 would leave 1e-7.
    assert all(distance < 1e-12 for distance in devices.distances(runs).values())
    assert runs[devices.ONE].losses[-1] < runs[devices.ONE].losses[0] / 2


@pytest.mark.slow
def test_gradients_that_are_not_averaged_are_noticed(devices: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.gx, "mean_across", lambda axis: gx.identity())
    with pytest.raises(SystemExit, match="are not equal to accumulated rounding"):
        devices.main(["--epochs", "1"])


def test_too_few_devices_are_refused(
    devices: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices, "DEVICES", jax.device_count() + 1)
    with pytest.raises(SystemExit, match="2"):
        devices.main([])
    assert f"JAX sees {jax.device_count()}" in capsys.readouterr().err
