from __future__ import annotations

import subprocess
import sys

import pytest

import gradxform as gx
from gradxform.__main__ import main


def test_list_finds_by_name_kind_and_summary(capsys):
    assert main(["list", "muon"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "kind", "what", "it", "is"]
    assert {"muon", "normuon", "scale_by_muon"} <= {row.split()[0] for row in rows}
    assert main(["list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(gx.__all__)


def test_explain_tells_what_explain_tells(capsys):
    assert main(["explain", "chain(clip(1.0), adamw(1e-3))", "kernel=3,4:bfloat16", "scale="]) == 0
    import jax

    shapes = {"kernel": jax.ShapeDtypeStruct((3, 4), "bfloat16"), "scale": jax.ShapeDtypeStruct((), "float32")}
    tx = gx.chain(gx.clip(1.0), gx.adamw(1e-3))
    assert capsys.readouterr().out == f"{gx.explain(tx, shapes)}\n"


def test_plot_and_compare_write_pictures(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    assert main(["plot", "cosine_decay_schedule(1e-3, 10)", "--steps", "12", "--out", str(tmp_path / "rate.png")]) == 0
    words = ["compare", "sgd", "slow=lambda r: sgd(r / 10)", "fixed=adam(0.1)", "--rates", "1e-3", "1e-2", "2"]
    words[3] = "fixed=lambda r: chain(clip(jnp.inf), adam(0.1))"
    small = ["--problems", "rosenbrock", "--seeds", "1", "--steps", "4", "--out", str(tmp_path / "all.svg")]
    assert main([*words, *small]) == 0
    picture, _, *rows = capsys.readouterr().out.splitlines()
    assert picture == str(tmp_path / "rate.png")
    assert [row.split()[:2] for row in rows] == [["rosenbrock", name] for name in ("sgd", "slow", "fixed")]
    assert "<svg" in (tmp_path / "all.svg").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "zebra"], "no public name, kind or summary holds 'zebra'"),
        (["explain", "adamww(1)", "w=2"], "name 'adamww' is not defined"),
        (["explain", "adam(", "w=2"], "never closed"),
        (["explain", "adam(1e-3)", "w:2"], "NAME=SIZE"),
        (["explain", "3", "w=2"], "tx must be"),
        (["explain", "adam(1e-3)", "w=2:float33"], "float33"),
        (["compare", "x=3"], "transformations['x'] must be a transformation or a function of the rate, got 3"),
        (["explain", "__import__('os').getcwd()", "w=2"], "name '__import__' is not defined"),
    ],
)
def test_a_mistake_is_a_sentence(capsys, words, said):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.startswith("gradxform: ")


def test_it_runs_as_a_module_and_into_a_pipe_that_closes():
    command = f"{sys.executable} -m gradxform list | head -n 2"
    run = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert run.stderr == ""
    assert len(run.stdout.splitlines()) == 2
