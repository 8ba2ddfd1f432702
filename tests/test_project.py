"""What stands around the package: one version, and files that call what is there."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import gradxform as gx

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
YAML = sorted(
    [*ROOT.glob(".github/**/*.yml"), ROOT / ".gitlab-ci.yml", ROOT / ".readthedocs.yaml", ROOT / "CITATION.cff"]
)
STEPS = re.findall(r"^step (\w+)", (ROOT / ".ci/run").read_text(), re.MULTILINE)


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def test_the_version_is_one() -> None:
    version = PROJECT["project"]["version"]
    assert gx.__version__ == read("CITATION.cff")["version"] == version
    heads = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert version in heads
    assert "__version__" in dir(gx)


@pytest.mark.parametrize("path", YAML, ids=lambda path: str(path.relative_to(ROOT)))
def test_it_reads_as_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_hosted_jobs_run_all_steps_on_the_pythons_that_they_need() -> None:
    hosted = read(".github/workflows/ci.yml")["jobs"]["run"]["strategy"]["matrix"]["include"]
    lab = read(".gitlab-ci.yml")["run"]["parallel"]["matrix"]
    for jobs in ([(j["python"], j["steps"]) for j in hosted], [(j["PYTHON"], j["STEPS"]) for j in lab]):
        assert {step for _, steps in jobs for step in steps.split()} == set(STEPS)
        pythons = {step: python for python, steps in jobs for step in steps.split()}
        assert (pythons["oldest"], pythons["newest"]) == ("3.11", "3.13")
    commands = [s["run"] for s in read(".github/workflows/release.yml")["jobs"]["release"]["steps"] if "run" in s]
    (run,) = [c for c in commands if c.startswith(".ci/run")]
    assert set(run.split()[1:]) <= set(STEPS)


def test_a_step_that_is_none_fails(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci/run").write_text((ROOT / ".ci/run").read_text())
    (tmp_path / "Makefile").write_text("check:\n\t@true\ndocs:\n\t@false\n")

    def status(*steps: str) -> int:
        return subprocess.run(["bash", ".ci/run", *steps], cwd=tmp_path, capture_output=True, check=False).returncode

    assert [status("check"), status("docs"), status("check", "chek")] == [0, 1, 2]


def test_the_sdist_has_what_its_makefile_calls() -> None:
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert [name for name in included if not [*ROOT.glob(name)]] == []
    called = set(re.findall(r"sh (\.ci)/", (ROOT / "Makefile").read_text()))
    assert called <= set(included)


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text())
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []
