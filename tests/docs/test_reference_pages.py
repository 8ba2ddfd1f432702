"""A page for every name: what stands on it, and under which file name."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="the pages are made by `make docs`")

from example_programs import places
from reference_pages import inline, page_of, signature, summary, write

import gradxform as gx


def test_no_two_pages_share_a_file_on_any_disk() -> None:
    pages = [page_of(full).casefold() for full in places()]
    assert len({*pages, "index", "types", "catalogue"}) == len(pages) + 3


def test_types_are_those_of_the_source() -> None:
    assert signature(None, "function", "", gx.scale, None) == ("(step_size: Hyper) -> Chain", None)
    assert signature(None, "data", "", 3, None) is None


def test_a_summary_is_the_first_paragraph_with_its_formula() -> None:
    assert summary("gradxform.unscale") == r"Undo a fixed loss scale: \ ``u = g · (1 / loss_scale)``\ ."
    assert inline("a*b `adam` c") == r"a\*b \ :py:obj:`adam <gradxform.adam>`\  c"


def test_pages_say_what_a_name_is_and_pages_of_before_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reference_pages.RATES", {"step_decay": "gx.step_decay(0.1, 30, 0.5)"})
    (tmp_path / "gone.rst").write_text("")
    write(tmp_path)
    page = (tmp_path / "step_decay.rst").read_text()
    assert ".. autofunction:: gradxform.step_decay" in page
    assert ".. image:: step_decay.svg" in page
    assert "tx = gx.sgd(schedule)" in page
    assert (tmp_path / "step_decay.svg").exists()
    assert not (tmp_path / "gone.rst").exists()
    assert "* :doc:`sgd <compat.torch.sgd>`: " in (tmp_path / "compat.torch.rst").read_text()
