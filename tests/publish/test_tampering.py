"""Every change of a release is found and named."""

import shutil
import subprocess

import pyarrow.parquet as pq
import pytest
from release_checks import FILES, SCORES, one_metric, one_prediction, replace, rewrite, wrong
from toy_release import build
from typer.testing import CliRunner

from reprood.cli.main import app
from reprood.publish.contents import SIGNATURE, SUITE, SUMS
from reprood.publish.seal import write_sums

pytestmark = pytest.mark.slow

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")


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
