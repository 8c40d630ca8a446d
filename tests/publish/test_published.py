"""The releases in `published/` are complete and signed; the code revision in them recomputes their numbers."""

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reprood.cli.main import app
from reprood.core.files import read_json
from reprood.publish.contents import CODE, SIGNATURE
from reprood.publish.seal import check_signature, differences, read_sums, sums_of

PUBLISHED = Path(__file__).parents[2] / "published"
RELEASES = sorted(path.parent for path in PUBLISHED.glob(f"*/{SIGNATURE}"))
each_release = pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)


def test_there_is_one_and_the_page_names_all():
    assert RELEASES
    text = (PUBLISHED / "README.md").read_text()
    assert all(f"[`{folder.name}`]({folder.name})" in text for folder in RELEASES)


def test_all_together_are_small_enough_for_a_git_tree():
    assert sum(path.stat().st_size for path in PUBLISHED.rglob("*") if path.is_file()) < 60e6


@each_release
def test_a_release_is_complete_and_signed(folder):
    assert differences(read_sums(folder), sums_of(folder)) == []
    holds, text = check_signature(folder, PUBLISHED / "allowed_signers")
    assert holds, text
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not {".safetensors", ".npy", ".npz", ".png", ".jpg"} & {path.suffix for path in files}


@each_release
def test_verify_recomputes_a_release_of_this_code_and_names_the_code_of_others(folder, tmp_path):
    options = ["--signers", str(PUBLISHED / "allowed_signers")]
    done = CliRunner().invoke(app, ["verify", str(folder), *options])
    last = " ".join(done.stdout.split("\n")[-2].split())
    if done.exit_code == 0:
        assert re.fullmatch(r"All \d+ checks hold\.( \d+ more need the archive\.)?", last)
    else:
        assert done.exit_code == 3, done.stdout
        revision = read_json(folder / CODE)["revision"]
        assert re.match(r"\d+ checks hold; \d+ were not made, because the release was made with other code", last)
        assert f"git worktree add ../recompute {revision} && " in last

    copy = shutil.copytree(folder, tmp_path / "copy")
    with open(copy / "results" / "metrics.csv", "a") as stream:
        stream.write("x")
    done = CliRunner().invoke(app, ["verify", str(copy), *options])
    assert done.exit_code == 1
    assert "files are those that were listed" in str(done.exception)
