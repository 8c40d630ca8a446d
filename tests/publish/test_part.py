"""A release of a part of a suite says which part it is, and holds."""

import json
import shutil

import pytest
from release_checks import wrong
from toy_release import make_checkout, write_results

from reprood.config.load import make_suite, read_suite
from reprood.config.selection import Selection
from reprood.core.errors import ReproodError
from reprood.core.files import read_json
from reprood.pipeline.selection import select
from reprood.publish.build import build_release
from reprood.publish.contents import DEPOSIT, METADATA, PART, Paths
from reprood.publish.part import part_record
from reprood.publish.seal import write_sums

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = make_checkout(tmp_path_factory.mktemp("checkout"))
    file = folder / "config" / "suites" / "toy.yaml"
    selection = Selection(only="toy/erm")
    chosen = select(make_suite(read_suite(file, folder), file), selection, Paths(folder).papers())
    name = f"toy{selection.folder}"
    write_results(folder, name, chosen)
    record = {**chosen.model_dump(mode="json", exclude={"settings", "folders"}), "name": name, "folders": {}}
    return build_release(
        json.dumps(record), folder, folder / "published" / "part", release="part", date="2026-01-02",
        part=part_record(selection, {}), source=file,
    )  # fmt: skip


def test_it_holds_and_says_which_part_it_is(release):
    assert wrong(release) == {}
    assert {path.name for path in (release / "runs" / "toy").iterdir()} == {"erm"}
    assert read_json(release / PART) == {
        "claims": "",
        "only": ["toy/erm"],
        "paper": [],
        "replicates": {},
        "seeds": None,
    }
    assert "only=toy/erm" in read_json(release / DEPOSIT)["metadata"]["title"]
    assert "Selection of the suite: only=toy/erm. " in (release / METADATA).read_text()
    assert "Selection of the suite: only=toy/erm. " in (release / "reports" / "index.html").read_text()
    assert (release / "config" / "suites" / "toy.yaml").is_file()


def test_another_selection_than_that_of_the_runs_is_found(release, tmp_path):
    shutil.copytree(release, tmp_path / "copy")
    path = tmp_path / "copy" / PART
    path.write_text(path.read_text().replace("toy/erm", "toy/good"))
    write_sums(tmp_path / "copy")
    found = wrong(tmp_path / "copy")
    assert "differ in 'runs'" in " ".join(found["configuration is the one of the suite's file"])


def test_changed_settings_are_not_released():
    with pytest.raises(ReproodError, match=r"cannot hold changed settings \(set training.epochs=3\); write them"):
        part_record(Selection(set="training.epochs=3"), {})
