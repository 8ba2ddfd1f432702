"""Pictures of the site are taken where there is a browser, and elsewhere it is said that there are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import screens

BROWSER = """#!/bin/sh
for word in "$@"; do case $word in --screenshot=*) echo picture > "${word#--screenshot=}";; esac; done
"""


def test_without_a_browser_it_says_so(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    assert screens.main(tmp_path, tmp_path / "shots") == 0
    assert capsys.readouterr().out.startswith("no pictures of the site: none of chromium,")
    assert not (tmp_path / "shots").exists()


def test_each_page_that_is_there_in_two_sizes_and_themes(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "browser").write_text(BROWSER)
    (tmp_path / "browser").chmod(0o755)
    (tmp_path / "index.html").write_text("")
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "browser"))
    assert screens.main(tmp_path, tmp_path / "shots") == 0
    taken = {path.name for path in (tmp_path / "shots").iterdir()}
    assert taken == {f"index-{size}-{theme}.png" for size in ("wide", "narrow") for theme in ("light", "dark")}
    (tmp_path / "browser").write_text("#!/bin/sh\n")
    assert screens.main(tmp_path, tmp_path / "shots") == 1
