"""Releases: the same results give the same bytes, every change is found and named, archives cannot harm."""

import json
import shutil
import subprocess
import sys

import fabricate
import pytest
from release_checks import replace
from toy_release import ROOT, RUNS, build
from typer.testing import CliRunner

from reprood.cli.main import app
from reprood.core.errors import ReproodError
from reprood.core.files import sha256_file
from reprood.publish.bill import bill_of, locked
from reprood.publish.compare import beyond_noise, compare
from reprood.publish.contents import CODE, METADATA, SUMS, fingerprints
from reprood.publish.seal import write_sums
from reprood.publish.verify import _checked, verify
from reprood.report.contents import drawings_of, tables_of

pytestmark = pytest.mark.slow


def test_a_release_holds_and_says_so(release):
    verification = verify(release)
    assert [check.holds for check in verification.checks] == [True, None, *[True] * 9]
    assert (verification.skipped, verification.failed) == (0, [])
    done = CliRunner().invoke(app, ["verify", str(release)])
    assert done.exit_code == 0
    assert "All 10 checks hold." in done.stdout


def test_the_same_results_give_the_same_bytes(checkout, release, tmp_path):
    again = build(checkout, tmp_path / "again")
    names = sorted(str(path.relative_to(release)) for path in release.rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to(again)) for path in again.rglob("*") if path.is_file())
    for name in names:
        assert (release / name).read_bytes() == (again / name).read_bytes(), name


def test_what_is_in_a_release(release):
    names = {str(path.relative_to(release)) for path in release.rglob("*") if path.is_file()}
    drawn = {name for name in names if name.startswith("reports/figures/")}
    kinds = set(drawings_of(fabricate.suite().benchmarks["toy"])) - {
        "examples",
        "hardest",
    }  # these are pictures of data
    assert drawn == {f"reports/figures/toy/{kind}.svg" for kind in kinds}
    for kind in tables_of(fabricate.suite().benchmarks["toy"]):
        assert f"reports/tables/toy/{kind}.tex" in names
    assert not [name for name in names if name.endswith((".npy", ".npz", ".safetensors", ".png"))]
    sums = {line.split("  ")[1] for line in (release / SUMS).read_text().splitlines()}
    assert sums == names - {SUMS}
    assert subprocess.run(["sha256sum", "-c", "--quiet", SUMS], cwd=release, check=False).returncode == 0


def test_the_description_is_a_workflow_run_crate(release):
    graph = {entity["@id"]: entity for entity in json.loads((release / METADATA).read_text())["@graph"]}
    root = graph["./"]
    assert {part["@id"] for part in root["conformsTo"]} >= {"https://w3id.org/ro/wfrun/workflow/0.5"}
    assert graph[METADATA]["about"] == {"@id": "./"}
    assert "ComputationalWorkflow" in graph[root["mainEntity"]["@id"]]["@type"]
    assert graph["#run"]["@type"] == "CreateAction"
    assert len(root["mentions"]) == 1 + len(list(fabricate.suite(runs=RUNS).jobs()))
    for entity in graph.values():  # what is named is described
        for values in entity.values():
            for value in values if isinstance(values, list) else [values]:
                if isinstance(value, dict) and set(value) == {"@id"} and not value["@id"].startswith("http"):
                    assert value["@id"] in graph, value


def test_a_check_that_looked_at_nothing_does_not_hold():
    checks = [_checked("x", lambda count=count: (count, [])) for count in (0, 1, None)]
    assert [(check.holds, check.count) for check in checks] == [(False, 0), (True, 1), (True, None)]
    assert str(checks[1]).endswith("x (1 checked)")


def test_what_is_missing_is_named_before_anything_is_written(checkout, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(checkout, part)
    (part / "runs/toy/erm/0/metrics.csv").unlink()
    with pytest.raises(ReproodError, match=r"1 of \d+ files to publish do not exist, the first is runs/toy/erm/0"):
        build(part, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- comparison, bill, imports ---


PARTS = {  # a part of the code, and how many checks are made by other code when it has changed
    "suite": 8, "scores": 1, "metrics": 2, "verdicts": 1, "compact": 0, "tables": 1, "pages": 1, "templates": 1,
}  # fmt: skip


def test_every_part_of_the_code_is_recorded(release):
    record = json.loads((release / CODE).read_text())
    assert {part: record[part] for part in PARTS} == fingerprints()
    assert set(record) == {"release", "date", "revision", *PARTS}


def of_other_code(folder, part):
    """Change a fingerprint, with the description and the checksums."""
    record = json.loads((folder / CODE).read_text())
    (folder / CODE).write_text(json.dumps({**record, part: "0" * 16}))
    description = json.loads((folder / METADATA).read_text())
    entity = next(entity for entity in description["@graph"] if entity["@id"] == CODE)
    entity["sha256"] = sha256_file(folder / CODE)
    (folder / METADATA).write_text(json.dumps(description))
    write_sums(folder)


@pytest.mark.parametrize("part", PARTS)
def test_parts_computed_by_other_code_are_not_recomputed(copy, part):
    of_other_code(copy, part)
    verification = verify(copy)
    assert (verification.skipped, verification.failed, verification.revision) == (PARTS[part], [], "abc1234")
    assert all(check.details for check in verification.checks if check.holds is None)


def test_a_release_of_other_code_is_neither_accepted_nor_rejected(copy):
    of_other_code(copy, "suite")
    done = CliRunner().invoke(app, ["verify", str(copy)])
    assert done.exit_code == 3
    assert "8 were not made, because the release was made with other code (revision abc1234)" in done.stdout
    assert "git worktree add ../recompute abc1234" in done.stdout


def test_a_stated_revision_is_never_a_command(copy):
    record = json.loads((copy / CODE).read_text())
    (copy / CODE).write_text(json.dumps({**record, "suite": "", "revision": "main; rm -rf /"}))
    assert verify(copy).revision == ""
    (copy / CODE).write_text("[]")
    assert verify(copy).skipped == 8


def test_two_releases_are_compared(release, copy):
    same = compare(release, copy)
    assert (same.changed, same.same) == ((), 2)
    table = (copy / "results/verdicts.csv").read_text().splitlines()
    (copy / "results/verdicts.csv").write_text("\n".join(table[:2]) + "\n")
    replace(copy / "results/verdicts.csv", "supported at reduced scale", "open")
    found = compare(release, copy)
    assert [str(change).split(", effect")[0] for change in found.changed] == [
        "toy/c0 on toy: supported at reduced scale -> open"
    ]
    assert found.only_first == ("toy/c1 on toy",)
    done = CliRunner().invoke(app, ["compare", str(release), str(copy)])
    assert "1 differ" in done.stdout
    with pytest.raises(ReproodError, match="does not exist"):
        compare(release, copy / "config")


def test_beyond_noise():
    assert beyond_noise((0.0, 1.0, 2.0), (3.0, 4.0, 5.0)) is True  # 3 apart, sqrt(2) allowed
    assert beyond_noise((0.0, 1.0, 2.0), (1.0, 2.0, 3.0)) is False
    assert beyond_noise((float("nan"), 1.0, 2.0), (1.0, 2.0, 3.0)) is None


def test_the_bill_lists_every_locked_package_with_its_licence():
    lock = (ROOT / "requirements.lock").read_text()
    bill = bill_of(ROOT / "requirements.lock", "0.1.0")
    assert len(bill["components"]) == len(locked(lock)) > 100
    torch = next(component for component in bill["components"] if component["name"] == "torch")
    assert torch["purl"].startswith("pkg:pypi/torch@")
    assert len(torch["hashes"][0]["content"]) == 64
    named = [component for component in bill["components"] if "licenses" in component]
    assert len(named) > 0.7 * len(bill["components"])


def test_the_bill_is_valid_cyclonedx():
    """By the schema, and read back by the reference library."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    bill = bill_of(ROOT / "requirements.lock", "0.1.0")
    validator = JsonStrictValidator(SchemaVersion.V1_5)
    assert validator.validate_str(json.dumps(bill)) is None
    assert len(Bom.from_json(bill).components) == len(bill["components"])
    assert validator.validate_str(json.dumps({**bill, "version": "one"})) is not None


def test_verification_needs_no_torch():
    modules = "reprood.publish.verify, reprood.publish.compare, reprood.publish.build"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
