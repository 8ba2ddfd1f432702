"""What is wrong with a built site is told: links that lead nowhere, words that the search does not find."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="the site is made by `make docs`")

from site_checks import WANTED, broken_links, found, main

INDEX = {
    "docnames": ["index", *WANTED.values()],
    "terms": {"muon": [0, 1], "multistep": 2, "beta": 4},
    "titleterms": {},
    "objects": {"gradxform": [[3, 0, 1, "", "ReduceLROnPlateau"]]},
}


def test_links_and_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.html").write_text('<p id="there"><img src="a.png"/></p>')
    page = '<a class="x" href="other.html#there"></a><a href="#top"></a><a href="https://example.org/x"></a>'
    (tmp_path / "index.html").write_text(page + '<a href="other.html#gone"></a>')
    assert sorted(broken_links(tmp_path)) == [
        "index.html: other.html#gone has no such anchor",
        "other.html: a.png leads nowhere",
    ]
    (tmp_path / "searchindex.js").write_text(f"Search.setIndex({json.dumps(INDEX)})")
    assert found(tmp_path, "muon") == {"index", "reference/muon"}
    assert main(tmp_path) == 1
    (tmp_path / "a.png").write_text("")
    (tmp_path / "index.html").write_text(page)
    capsys.readouterr()
    assert main(tmp_path) == 0
    assert capsys.readouterr().out == ""
    (tmp_path / "searchindex.js").write_text(f"Search.setIndex({json.dumps(INDEX | {'terms': {}})})")
    assert main(tmp_path) == 1
    assert "the search for 'betas' finds 0 pages" in capsys.readouterr().out
