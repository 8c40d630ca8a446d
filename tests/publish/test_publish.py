"""Releases: the same results give the same bytes, every change is found and named, archives cannot harm."""

import json
import shutil
import stat
import subprocess
import sys
import zipfile

import fabricate
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_release import ROOT, RUNS, build, make_checkout
from typer.testing import CliRunner

from reprood.cli.main import app
from reprood.core.errors import ReproodError
from reprood.core.files import canonical_json, sha256_file
from reprood.publish.bill import bill_of, locked
from reprood.publish.compare import beyond_noise, compare
from reprood.publish.contents import CODE, METADATA, SIGNATURE, SUITE, SUMS, fingerprints
from reprood.publish.seal import write_sums
from reprood.publish.unpack import opened
from reprood.publish.verify import _checked, verify
from reprood.report.contents import figures_of, tables_of

pytestmark = pytest.mark.slow

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return make_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def release(checkout, tmp_path_factory):
    return build(checkout, tmp_path_factory.mktemp("release") / "draft")


@pytest.fixture
def copy(release, tmp_path):
    """A copy to be tampered with."""
    shutil.copytree(release, tmp_path / "copy")
    return tmp_path / "copy"


def wrong(folder, **options) -> dict[str, tuple[str, ...]]:
    return {check.name: check.details for check in verify(folder, **options).checks if check.holds is False}


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
    kinds = set(figures_of(fabricate.suite().benchmarks["toy"])) - {"examples", "hardest"}  # these are pictures of data
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


# --- tampering ---


def rewrite(path, change):
    table = pq.read_table(path)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    facts = json.loads(table.schema.metadata[b"reprood"])
    change(columns, facts)
    made = pa.table(columns, schema=table.schema.remove_metadata())
    pq.write_table(made.replace_schema_metadata({"reprood": canonical_json(facts)}), path)


def replace(path, old, new):
    text = path.read_text()
    assert old in text, (path, old)
    path.write_text(text.replace(old, new, 1))


def one_prediction(folder):
    def change(columns, facts):
        row = columns["split"].index("test")
        columns["label_rank"][row] = 1 - min(columns["label_rank"][row], 1)

    rewrite(folder / "runs/toy/good/1/predictions.parquet", change)


def one_score(folder):
    def change(columns, facts):
        row = columns["split"].index("near_set")
        columns["score_msp"][row] = 0.999

    rewrite(folder / "runs/toy/good/1/scores.parquet", change)


def one_logit(folder):
    def change(columns, facts):
        columns["logits"][columns["split"].index("near_set")] = [9.0, 0.0]

    rewrite(folder / "runs/toy/good/1/predictions.parquet", change)


def a_score_left_out(folder):
    path = folder / "runs/toy/good/1/scores.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["score_msp"]), path)


def one_number_of_a_table(folder):
    path = folder / "reports/tables/toy/classification.csv"
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    cells[1] = "1.0"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")


def one_metric(folder):
    path = folder / "runs/toy/good/0/metrics.csv"
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    cells[6] = "0.5"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")


def one_verdict(folder):
    replace(folder / "results/verdicts.csv", "supported at reduced scale", "reproduced")


def one_hash(folder):
    path = folder / SUMS
    text = path.read_text()
    path.write_text(("0" if text[0] != "0" else "1") + text[1:])


def one_setting(folder):
    replace(folder / "config/suites/toy.yaml", "accuracy: 0.3", "accuracy: 0.1")


def the_scale(folder):
    replace(folder / "config/suites/toy.yaml", "scale: reduced", "scale: paper")
    replace(folder / SUITE, '"scale": "reduced"', '"scale": "paper"')


def a_claim(folder):
    replace(folder / "config/papers/toy.yaml", "better: lower", "better: higher")


def drop_a_run(folder):
    shutil.rmtree(folder / "runs/toy/good/2")


def add_a_file(folder):
    (folder / "runs/toy/good/0/more.csv").write_text("a\n")


def swap_two_seeds(folder):
    first, second, aside = (folder / "runs/toy/good" / name for name in ("0", "1", "aside"))
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def copy_a_seed(folder):
    """The predictions of seed 0 again as seed 1, relabelled."""
    shutil.copyfile(folder / "runs/toy/good/0/metrics.csv", folder / "runs/toy/good/1/metrics.csv")
    for name in ("predictions.parquet", "scores.parquet"):
        shutil.copyfile(folder / "runs/toy/good/0" / name, folder / "runs/toy/good/1" / name)


def a_page(folder):
    replace(folder / "reports/papers/toy.html", "supported at reduced scale", "reproduced")


FILES = "files are those that were listed"
SCORES = "scores of detectors follow from the logits"
TAMPERINGS = [  # the change, the checks that fail even when the checksums are rewritten, and the message
    (one_prediction, {"metrics follow from the predictions"}, "runs/toy/good/1/metrics.csv: "),
    (one_score, {SCORES, "metrics follow from the predictions"}, "scores.parquet: msp of row"),
    (one_logit, {SCORES}, "runs/toy/good/1/scores.parquet: msp of row"),
    (a_score_left_out, {SCORES}, "scores.parquet: the score msp is not there"),
    (one_number_of_a_table, {"tables follow from the results"}, "reports/tables/toy/classification.csv"),
    (one_metric, {"metrics follow from the predictions"}, "runs/toy/good/0/metrics.csv"),
    (one_verdict, {"verdicts follow from the predictions"}, "toy/c0 on toy: verdict is stated as reproduced"),
    (one_setting, {"configuration is the one of the suite's file"}, "differ in 'benchmarks'"),
    (the_scale, {"verdicts follow from the predictions"}, "reproduced"),
    (a_claim, {"verdicts follow from the predictions"}, "toy/c0 on toy"),
    (drop_a_run, {"every run is there, and is the run that it says"}, "the run toy/good/2 is missing"),
    (add_a_file, {"description lists the files"}, "runs/toy/good/0/more.csv is not described"),
    (swap_two_seeds, {"every run is there, and is the run that it says"}, "model.json is of the run toy/good/1"),
    (copy_a_seed, {"metrics follow from the predictions"}, "holds the run toy/good/0, not toy/good/1"),
    (a_page, {"pages follow from the results"}, "reports/papers/toy.html"),
]


@pytest.mark.parametrize(("tamper", "failing", "words"), TAMPERINGS, ids=lambda v: getattr(v, "__name__", ""))
def test_tampering_is_found_and_named(copy, tamper, failing, words):
    tamper(copy)
    found = wrong(copy)
    assert FILES in found
    write_sums(copy)  # a careful tamperer rewrites the checksums
    found = wrong(copy)
    assert FILES not in found
    assert failing <= set(found)
    assert any(words in text for texts in found.values() for text in texts), found


def test_a_changed_checksum_is_found(copy):
    one_hash(copy)
    assert any("was changed" in text for text in wrong(copy)[FILES])
    done = CliRunner().invoke(app, ["verify", str(copy)])
    assert done.exit_code != 0
    assert "1 of 11 checks do not hold" in str(done.exception)


@needs_ssh
def test_line_ends_that_git_rewrote_are_named_as_the_cause(copy):
    for path in (copy / "LICENSE", copy / "SHA256SUMS"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    details = wrong(copy)["files are those that were listed"]
    assert details[0] == "1 files have other line ends: git rewrote them; clone with -c core.autocrlf=false"


def test_a_check_that_looked_at_nothing_does_not_hold():
    checks = [_checked("x", lambda count=count: (count, [])) for count in (0, 1, None)]
    assert [(check.holds, check.count) for check in checks] == [(False, 0), (True, 1), (True, None)]
    assert str(checks[1]).endswith("x (1 checked)")


def test_signatures(checkout, copy, tmp_path):
    for name in ("ours", "theirs"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(tmp_path / name)]
        subprocess.run(command, check=True)
    signers = tmp_path / "signers"
    signers.write_text(f"reviewers@example.org {(tmp_path / 'ours.pub').read_text()}")
    assert wrong(copy, signers=signers)["signature"] == (f"{SIGNATURE} is missing, and signers were given",)
    ours = build(checkout, tmp_path / "signed", key=tmp_path / "ours")
    assert not wrong(ours, signers=signers)
    assert not wrong(ours)
    theirs = build(checkout, tmp_path / "forged", key=tmp_path / "theirs")
    assert wrong(theirs, signers=signers)["signature"] == (f"signed with a key that is not in {signers}",)
    one_metric(ours)
    write_sums(ours)
    assert "signature" in wrong(ours, signers=signers)
    assert "signature" in wrong(ours)


# --- archives ---


def archived(folder, path, members=()):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"draft/{file.relative_to(folder)}")
        for name, data, mode in members:
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            archive.writestr(member, data)
    return path


def test_an_archive_is_verified_like_its_folder(release, tmp_path):
    assert not wrong(archived(release, tmp_path / "draft.zip"))


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (("../outside.txt", "x", 0o644), "leads outside"),
        (("/absolute.txt", "x", 0o644), "leads outside"),
        (("draft/link", "/etc/passwd", stat.S_IFLNK | 0o777), "is a link"),
    ],
)
def test_hostile_archives_are_not_opened(release, tmp_path, member, words):
    path = archived(release, tmp_path / "bad.zip", [member])
    with pytest.raises(ReproodError, match=words):
        verify(path)
    assert not (tmp_path / "outside.txt").exists()


def test_bombs_and_other_files_are_refused(tmp_path, monkeypatch):
    import reprood.publish.unpack

    monkeypatch.setattr(reprood.publish.unpack, "MAX_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"0" * 5000)
    with pytest.raises(ReproodError, match="would unpack to more"), opened(tmp_path / "bomb.zip"):
        pass
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(ReproodError, match="neither a folder nor a zip"):
        verify(tmp_path / "text")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(ReproodError, match="holds no ro-crate-metadata.json"):
        verify(tmp_path / "empty.zip")


def test_paths_of_the_checksums_stay_inside_and_links_are_refused(copy):
    with open(copy / SUMS, "a") as stream:
        stream.write("0" * 64 + "  ../../etc/passwd\n")
    assert "expected a SHA-256 digest and a path inside" in wrong(copy)[FILES][0]
    (copy / "runs" / "link").symlink_to("/etc/passwd")
    with pytest.raises(ReproodError, match="runs/link is a link"):
        verify(copy)


def test_what_is_missing_is_named_before_anything_is_written(checkout, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(checkout, part)
    (part / "runs/toy/erm/0/metrics.csv").unlink()
    with pytest.raises(ReproodError, match=r"1 of \d+ files to publish do not exist, the first is runs/toy/erm/0"):
        build(part, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- comparison, bill, imports ---


PARTS = {  # a part of the code, and how many checks are made by other code when it has changed
    "suite": 8, "scores": 1, "metrics": 2, "verdicts": 1, "tables": 1, "pages": 1, "templates": 1,
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
