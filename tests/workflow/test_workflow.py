"""The real workflow on the smoke suite: what runs, what does not run again, and what a killed run leaves."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from smoke_plan import METHODS, SEEDS, evaluated

from reprood.config.load import load_suite
from reprood.core.files import sha256_file

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1500)]

GAUSSIAN = {"dataset": "gaussian_noise", "split": "test", "limit": 50, "shift": "noise"}
REPORT_RULES = {"study_figure", "notebook", "pages", "examples"}
JOBS = list(load_suite("smoke", Path(__file__).resolve().parents[2]).jobs())  # of all benchmarks


@pytest.fixture
def edited(built):
    """The finished checkout, whose sources are put back afterwards."""
    keep = {
        path: path.read_bytes()
        for part in ("src", "config", "workflow", "notebooks")
        for path in (built.folder / part).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    yield built
    for path, data in keep.items():
        if path.read_bytes() != data:
            path.write_bytes(data)


def test_every_stage_wrote_what_it_promises(built):
    for method in METHODS:
        for seed in SEEDS:
            run = built.folder / "runs" / "smoke_letters" / method / str(seed)
            names = {path.name for path in run.iterdir()}
            assert names == {
                "model.safetensors", "model.json", "history.csv", "run.json", "predictions.parquet",
                "features.safetensors", "SHA256SUMS",
            }  # fmt: skip
            evaluated = built.folder / "results" / "smoke" / "runs" / "smoke_letters" / method / str(seed)
            assert {path.name for path in evaluated.iterdir()} == {"scores.parquet", "metrics.csv", "SHA256SUMS"}
    metrics = pd.read_parquet(built.folder / "results" / "smoke" / "metrics.parquet")
    assert set(zip(metrics["benchmark"], metrics["method"], metrics["seed"], strict=True)) == set(JOBS)
    assert metrics.query("metric == 'auroc'")["value"].between(0, 1).all()
    verdicts = pd.read_csv(built.folder / "results" / "smoke" / "verdicts.csv")
    assert not verdicts["verdict"].eq("reproduced").any(), "a reduced scale never reproduces a published number"
    assert "<html" in (built.folder / "reports" / "smoke" / "index.html").read_text()
    summary = json.loads((built.folder / "results" / "smoke" / "summary.json").read_text())
    for method in METHODS:
        part = built.folder / "results" / "smoke" / "summary" / f"smoke_letters.{method}.json"
        assert json.loads(part.read_text()) == summary["smoke_letters"][method]


def test_conditions_families_and_studies_come_out(built):
    metrics = pd.read_parquet(built.folder / "results" / "smoke" / "metrics.parquet").query(
        "benchmark == 'smoke_robust'"
    )
    assert {"corrupted/fog", "corrupted", "attacked/pgd", "occluded/center"} <= set(metrics["split"])
    assert "mce" in set(metrics["metric"])
    objects = pd.read_parquet(built.folder / "results" / "smoke" / "metrics.parquet").query(
        "benchmark == 'smoke_objects'"
    )
    assert "localisation_error" in set(objects["metric"])
    values = pd.read_csv(built.folder / "results" / "smoke" / "studies" / "cnc_toy" / "values.csv")
    assert set(values["seed"]) == {0, 1}
    assert (built.folder / "reports" / "smoke" / "figures" / "studies" / "cnc_toy.svg").is_file()
    everything = pd.read_parquet(built.folder / "results" / "smoke" / "metrics.parquet")
    assert {"oscr", "macro_f", "pixel_auroc", "au_pro"} <= set(everything["metric"])
    assert (built.folder / "reports" / "smoke" / "figures" / "smoke_defects" / "maps.svg").is_file()
    for page, name in (
        ("benchmarks/smoke_one_class.html", "smoke_one_class-members"),
        ("studies/cnc_toy.html", "study-cnc_toy-table"),
        ("benchmarks/smoke_robust.html", "smoke_robust-robustness"),
        ("benchmarks/smoke_defects.html", "smoke_defects-segmentation"),
        ("benchmarks/smoke_open_set.html", "smoke_open_set-open-set"),
    ):
        assert f'id="{name}"' in (built.folder / "reports" / "smoke" / page).read_text(), page


def test_editing_a_corruption_makes_copies_again_and_trains_what_uses_it(edited):
    with open(edited.folder / "src/reprood/images/corruptions/fog.py", "a") as stream:
        stream.write("\n\nEDITED = 1\n")
    plan = edited.plan()
    assert plan["corrupted"] == 1
    assert plan["train"] == 1  # CnC
    assert plan["predict"] == len([job for job in JOBS if job[0] == "smoke_robust"])


def test_editing_an_attack_predicts_again_and_trains_what_uses_it(edited):
    with open(edited.folder / "src/reprood/attacks/projected.py", "a") as stream:
        stream.write("\n\nEDITED = 1\n")
    plan = edited.plan()
    assert plan["predict"] == len(JOBS)  # the predict stage knows attacks
    attacked = [job for job in JOBS if job[1].startswith(("ss_", "biamat")) and job[0] == "smoke_robust"]
    assert plan["train"] == len(attacked)  # methods that train on attacks, or share a module with one that does


def test_editing_a_study_runs_the_study(edited):
    with open(edited.folder / "src/reprood/studies/cnc_toy.py", "a") as stream:
        stream.write("\n\nEDITED = 1\n")
    plan = edited.plan()
    assert plan["study"] == 1
    assert not {"train", "predict", "corrupted"} & set(plan)
    assert not evaluated(plan)


def test_nothing_is_left_behind(built):
    assert not list((built.folder / "state").rglob("*.safetensors"))
    assert not list((built.folder / "runs").rglob(".*"))


def test_a_second_run_has_nothing_to_do(built):
    assert built.plan() == {}


def test_a_figure_can_be_asked_for_by_name(built):
    done = built.run("snakemake", "-n", "reports/smoke/figures/smoke_letters/roc.svg", "--config", "suite=smoke")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_touching_everything_runs_nothing(edited):
    now = time.time()
    for part in ("src", "config", "workflow", "notebooks", "data", "runs", "results"):
        for path in (edited.folder / part).rglob("*"):
            if path.is_file():
                os.utime(path, (now, now))
    assert edited.plan() == {}


def test_files_checked_out_again_run_nothing(edited):
    """Same content, other files, reversed times: what `git checkout` and `dvc pull` do."""
    for part in ("data", "runs", "results"):
        for age, path in enumerate(sorted((edited.folder / part).rglob("*"), reverse=True)):
            if path.is_file():
                fresh = path.with_name(path.name + ".fresh")
                shutil.copyfile(path, fresh)
                os.replace(fresh, path)
                os.utime(path, (time.time() - age, time.time() - age))
    assert edited.plan() == {}


def test_a_comment_or_docstring_runs_nothing(edited):
    for path in ("src/reprood/methods/godin.py", "src/reprood/engine/fit.py", "src/reprood/evaluate/metrics.py"):
        file = edited.folder / path
        text = file.read_text()
        assert text.startswith('"""')
        file.write_text('"""Other words. ' + text[3:] + "\n# a comment\n")
    assert edited.plan() == {}


def test_editing_a_method_runs_that_method_and_what_aggregates(edited):
    with open(edited.folder / "src/reprood/methods/godin.py", "a") as stream:
        stream.write("\n\nEDITED = 1\n")
    plan = edited.plan()
    assert plan["train"] == plan["predict"] == len(SEEDS)
    assert evaluated(plan) == {"smoke_letters"}
    assert plan["collect_metrics"] == plan["audit"] == plan["pages"] == 1
    assert not {"dataset", "split", "lint_benchmark"} & set(plan)


def test_editing_a_detector_evaluates_the_benchmarks_that_use_it(edited):
    with open(edited.folder / "src/reprood/detectors/knn.py", "a") as stream:
        stream.write("\n\nEDITED = 1\n")
    plan = edited.plan()
    assert evaluated(plan) == {"smoke_letters"}
    assert not {"train", "predict"} & set(plan)


def test_adding_a_detector_predicts_nothing(edited):
    """The worked example of CONTRIBUTING.md: one file, and a name in a benchmark; its results are there afterwards."""
    text = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text()
    example = text.split("For example `margin.py`:\n\n```python\n")[1].split("```")[0]
    (edited.folder / "src/reprood/detectors/margin.py").write_text(example)
    before = sha256_file(edited.folder / "runs/smoke_robust/erm/0/predictions.parquet")
    try:
        assert edited.plan() == {}  # no benchmark names it
        suite = "config/suites/smoke.yaml"
        edited.edit(suite, "detectors: {msp: {}, energy: {}}", "detectors: {msp: {}, margin: {}, energy: {}}")
        plan = edited.plan()
        assert evaluated(plan) == {"smoke_robust"}
        assert not {"train", "predict", "corrupted", "study"} & set(plan)
        edited.snakemake("results/smoke/runs/smoke_robust/erm/0/metrics.csv")
        metrics = pd.read_csv(edited.folder / "results/smoke/runs/smoke_robust/erm/0/metrics.csv")
        assert {"msp", "energy", "margin"} <= set(metrics["score"])
        assert sha256_file(edited.folder / "runs/smoke_robust/erm/0/predictions.parquet") == before
        log = (edited.folder / "logs/evaluate/smoke_robust.log").read_text()
        assert "smoke_robust/erm/0: 1 detectors computed, 2 reused; metrics computed" in log
        edited.edit(suite, "margin: {}, ", "")
    finally:
        (edited.folder / "src/reprood/detectors/margin.py").unlink()
    edited.snakemake("results/smoke/runs/smoke_robust/erm/0/metrics.csv")
    assert edited.plan() == {}  # the same bytes as before


def test_weights_are_not_needed_once_predictions_exist(edited):
    """Deleting them runs nothing; editing the method trains it again."""
    run = edited.folder / "runs/smoke_letters/godin_c/0"
    (run / "model.safetensors").rename(run / "kept")
    try:
        assert edited.plan() == {}
        with open(edited.folder / "src/reprood/methods/godin.py", "a") as stream:
            stream.write("\n\nEDITED = 1\n")
        assert edited.plan()["train"] == len(SEEDS)
    finally:
        (run / "kept").rename(run / "model.safetensors")


def test_features_are_not_needed_once_scores_exist(edited):
    path = edited.folder / "runs/smoke_letters/erm/0/features.safetensors"
    path.rename(path.with_suffix(".kept"))
    try:
        assert edited.plan() == {}
    finally:
        path.with_suffix(".kept").rename(path)


def test_editing_a_metric_evaluates_again(edited):
    with open(edited.folder / "src/reprood/evaluate/metrics.py", "a") as stream:
        stream.write("\n\nEDITED = 1\n")
    plan = edited.plan()
    assert evaluated(plan) == {benchmark for benchmark, _, _ in JOBS}
    assert not {"train", "predict"} & set(plan)


def test_editing_a_figures_style_runs_the_report_only(edited):
    with open(edited.folder / "src/reprood/report/style.py", "a") as stream:
        stream.write("\n\nEDITED = 1\n")
    plan = edited.plan()
    assert plan
    assert {rule for rule in plan if not rule.startswith("draw_")} <= REPORT_RULES, plan


def test_changing_one_methods_setting_runs_that_method(edited):
    edited.edit_suite({"methods.cutmix.set": {"alpha": 0.5}})
    plan = edited.plan()
    assert plan["train"] == plan["predict"] == len(SEEDS)


def test_swapping_two_values_is_seen(edited):
    """Snakemake compares parameters as a set of values; one canonical text makes a swap visible."""
    edited.edit_suite({"settings.training.epochs": 32, "settings.training.batch_size": 2})
    assert edited.plan()["train"] == len(JOBS)


def test_a_new_seed_runs_only_the_new_seed(edited):
    edited.edit_suite({"seeds": [0, 1, 2]})
    plan = edited.plan()
    assert plan["train"] == len(METHODS)


def test_a_new_claim_is_judged_and_trains_nothing(edited):
    path = edited.folder / "config" / "papers" / "cutmix.yaml"
    paper = yaml.safe_load(path.read_text())
    paper["claims"].append({**paper["claims"][0], "id": "one_more", "exploratory": True})
    path.write_text(yaml.safe_dump(paper, sort_keys=False))
    planned = edited.plan()
    assert planned["audit"] == 1
    assert "study" not in planned
    assert not [rule for rule in planned if rule.startswith(("train", "predict", "evaluate", "split"))]


def test_a_setting_is_seen_beside_a_new_ood_set(edited):
    """The linter runs for the new set; no job above a training may hide what else has changed."""
    edited.edit_suite({"benchmarks.smoke_letters.ood.gaussian": GAUSSIAN})
    edited.edit_suite({"methods.cutmix.set": {"alpha": 0.5}})
    plan = edited.plan()
    assert plan["lint_benchmark"] == 1
    assert plan["train"] == len(SEEDS)


def test_new_training_data_made_by_an_earlier_call_are_seen(edited):
    """As after a kill between the data stage and the linter."""
    images, limit = "data/benchmarks/smoke_letters/train/images.npy", "benchmarks.smoke_letters.train.limit"
    edited.edit_suite({limit: 200})
    edited.snakemake(images)
    plan = edited.plan("results/smoke/runs/smoke_letters/erm/0/metrics.csv")
    edited.edit_suite({limit: 240})
    edited.snakemake(images)
    assert {"lint_benchmark", "train", "predict", "evaluate_smoke_letters"} <= set(plan)
    assert edited.plan() == {}  # the data are what they were


def test_a_new_ood_set_trains_nothing(edited):
    edited.edit_suite({"benchmarks.smoke_letters.ood.gaussian": GAUSSIAN})
    plan = edited.plan()
    assert "train" not in plan
    assert plan["predict"] == len(METHODS) * len(SEEDS)


def test_results_of_the_future_are_reported(built):
    path = built.folder / "results/smoke/runs/smoke_letters/erm/0/metrics.csv"
    status = path.stat()
    os.utime(path, (time.time() + 3600, time.time() + 3600))
    try:
        done = built.run("snakemake", "-n", "--config", "suite=smoke")
    finally:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "newer than this computer's clock" in done.stderr
    assert "--touch" in done.stderr
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_damaged_record_is_named(built):
    records = [path for path in (built.folder / ".snakemake" / "metadata").rglob("*") if path.is_file()]
    content = records[0].read_bytes()
    records[0].write_bytes(content[:-2] + b"\xff}")
    try:
        done = built.run("snakemake", "-n", "--config", "suite=smoke", check=False)
    finally:
        records[0].write_bytes(content)
    assert done.returncode != 0
    assert f"{records[0].name} is damaged" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_workflow_can_be_named_by_its_standard_path(built):
    done = built.run("snakemake", "-n", "-s", "workflow/Snakefile", "--config", "suite=smoke")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_killed_training_goes_on_and_ends_in_the_same_bits(built):
    """SIGKILL the training process of one run, ask for the same file again, compare with the run never killed."""
    run = built.folder / "runs" / "smoke_letters" / "cutmix" / "0"
    before = {name: sha256_file(run / name) for name in ("model.safetensors", "history.csv", "predictions.parquet")}
    (run / "model.safetensors").unlink()
    child = subprocess.Popen(
        ["snakemake", "--cores", "1", str(run.relative_to(built.folder) / "model.safetensors"),
         "--config", "suite=smoke", "checkpoint_seconds=0"],
        cwd=built.folder, env=built.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.time() + 120
    state = built.folder / "state" / "train" / "smoke_letters" / "cutmix" / "0"
    while time.time() < deadline and child.poll() is None:
        if any(path.is_file() and path.suffix != ".lock" for path in state.rglob("*")):
            break
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    built.run("snakemake", "--unlock", "--config", "suite=smoke", check=False)
    built.snakemake()
    after = {name: sha256_file(run / name) for name in before}
    assert after == before
    assert built.plan() == {}


def test_a_mistake_in_the_configuration_is_one_sentence(built):
    done = built.run("snakemake", "-n", "--config", "suite=nowhere", check=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "There is no suite 'nowhere'" in text
    assert "Traceback" not in text


def test_a_wrong_method_setting_names_the_run_and_the_key(edited):
    edited.edit_suite({"methods.cutmix.set": {"betta": 1}})
    done = edited.run("reprood", "check", "--suite", "smoke", check=False)
    assert done.returncode == 1
    assert "betta" in done.stderr
    assert "cutmix" in done.stderr
    assert "Traceback" not in done.stderr
