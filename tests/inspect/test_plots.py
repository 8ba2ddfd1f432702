from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import gradxform as gx

matplotlib = pytest.importorskip("matplotlib")


def curves(figure):
    return {panel.get_ylabel(): panel.lines[0].get_xydata() for panel in figure.axes}


def test_a_schedule():
    found = curves(gx.inspect.plot(gx.linear_schedule(1.0, 0.0, 4), 6))
    assert list(found) == ["linear_schedule"]
    np.testing.assert_allclose(found["linear_schedule"], np.c_[np.arange(6.0), [1, 0.75, 0.5, 0.25, 0, 0]], atol=1e-7)


@pytest.mark.parametrize("what", [[3.0, 2.0, 1.0], lambda count: 3.0 - count], ids=["table", "function"])
def test_what_is_like_a_schedule(what):
    ((_, line),) = curves(gx.inspect.plot(what, 3)).items()
    np.testing.assert_allclose(line[:, 1], [3.0, 2.0, 1.0])


def test_a_transformation_shows_what_changes():
    tx = gx.chain(
        gx.clip_by_global_norm(gx.tunable([4.0, 5.0])),
        gx.groups([("b", {"learning_rate": 0.5}, "b")], default=gx.adamw(gx.linear_schedule(1.0, 0.0, 2))),
    )
    found = curves(gx.inspect.plot(gx.measure(tx, grad_norm=True), 3))
    assert list(found) == ["clip_by_global_norm/max_norm", "default/learning_rate"]
    np.testing.assert_allclose(found["clip_by_global_norm/max_norm"][:, 1], [4.0, 5.0, 5.0])
    np.testing.assert_allclose(found["default/learning_rate"][:, 1], [1.0, 0.5, 0.0])


def test_constants_are_shown_where_nothing_changes():
    assert list(curves(gx.inspect.plot(gx.momentum(0.1), 2))) == ["trace/decay", "trace/dampening", "learning_rate"]


def test_a_picture_is_written(tmp_path):
    assert gx.inspect.plot(gx.cosine_decay_schedule(0.1, 10), 12, tmp_path / "rate.png") is None
    assert (tmp_path / "rate.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    gx.inspect.plot(gx.adam(0.1), 12, tmp_path / "all.svg")
    assert "<svg" in (tmp_path / "all.svg").read_text()


@pytest.mark.parametrize(
    ("what", "steps", "error", "words"),
    [
        (gx.adam(0.1), 0, ValueError, "steps must be at least 1, got 0"),
        (gx.adam(0.1), 2.5, TypeError, "steps must be an integer, got 2.5"),
        (gx.centralize(), 5, ValueError, "has no hyperparameters to plot"),
        ("cosine", 5, TypeError, "what must be a number"),
        (gx.linear_schedule(1.0, 0.0, 0.5), 5, ValueError, "declare the total with over"),
    ],
)
def test_bad_arguments_are_refused(what, steps, error, words):
    with pytest.raises(error, match=words):
        gx.inspect.plot(what, steps)


def test_without_matplotlib_a_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"plot needs matplotlib: pip install gradxform\[plot\]"):
        gx.inspect.plot(gx.adam(0.1), 5)


def test_the_package_does_not_import_it():
    code = "import sys, gradxform; print('matplotlib' in sys.modules, 'gradxform.inspect.plots' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


def test_unknown_names_are_unknown():
    with pytest.raises(AttributeError, match="has no attribute 'picture'"):
        _ = gx.inspect.picture
