"""One version number everywhere; hooks and continuous integration run the same checks."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
HOOKS = {
    hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
}


def test_all_files_name_the_same_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == VERSION
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == VERSION
    images = re.findall(r"reprood:(\d[\w.]*)", (ROOT / "Dockerfile").read_text())
    assert images
    assert set(images) == {VERSION}


def test_the_hooks_need_no_network():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    assert {hook["language"] for hook in HOOKS.values()} <= {"system", "pygrep"}
    assert {"ruff-check", "ruff-format", "snakefmt", "mypy", "codespell", "large-files", "commit-message"} <= set(HOOKS)


@pytest.mark.parametrize(
    "message",
    [
        "Tests: mirror the package layout",
        "Fit: pass the stop callback\n\nThe reason.\n",
        "Merge branch 'fix'",
        "CI, docs: bring back the nightly run",
        "Area: " + "a" * 66,
    ],
)
def test_good_commit_messages_pass(message):
    assert re.search(HOOKS["commit-message"]["entry"], message, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "message",
    [
        "Words",
        "Add a test",
        "tests: mirror the layout",
        "Tests: Mirror the layout",
        "Tests: mirrored the layout",
        "Tests: mirroring the layout",
        "Tests: mirrors the layout",
        "Tests: mirror the layout.",
        "Tests: mirror the layout\nThe reason.",
        "Area: " + "a" * 67,
    ],
)
def test_bad_commit_messages_fail(message):
    assert not re.search(HOOKS["commit-message"]["entry"], message, re.MULTILINE | re.DOTALL)


def test_continuous_integration_runs_the_documented_commands():
    assert {"make environment", "make lint", "make test"} <= set((ROOT / ".ci/run").read_text().splitlines())
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert ".ci/run" in [step.get("run") for step in workflow["jobs"]["checks"]["steps"]]
    makefile = (ROOT / "Makefile").read_text()
    called = re.findall(
        r"\bmake (\w[\w-]*)", "".join(p.read_text() for p in (ROOT / ".github/workflows").glob("*.yml"))
    )
    assert called
    for target in called:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert "pre-commit run --all-files" in makefile


def test_git_changes_no_line_ends_of_releases_and_locks():
    rules = [line.split() for line in (ROOT / ".gitattributes").read_text().splitlines() if not line.startswith("#")]
    assert {("published/**", "-text"), ("*.lock", "-text")} <= {(rule[0], rule[-1]) for rule in rules}


def test_make_explains_a_python_that_is_too_old(tmp_path):
    old = tmp_path / "python3.10"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["make", "-s", f"PYTHON={old}", "environment"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"make: {old} is missing or older than Python 3.11; name one that is not" in done.stdout
