"""Folders of suites: an experiment never overwrites a reproduction, and shares what is equal."""

import copy
import itertools
from pathlib import Path

import pytest
import yaml

from reprood.config.folders import Folders, plain_name
from reprood.config.load import load_suite
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.files import canonical_json
from reprood.core.names import EVALUATED_FILES, MODEL_FILES
from reprood.pipeline.definitions import prediction_definition, run_settings, training_definition
from reprood.pipeline.plan import Plan
from reprood.pipeline.suites import committed_suites
from reprood.report.palette import PALETTE

ROOT = Path(__file__).resolve().parents[2]
SMOKE = yaml.safe_load((ROOT / "config" / "suites" / "smoke.yaml").read_text())
BENCHMARK = "smoke_letters"
GAUSSIAN = {"dataset": "gaussian_noise", "split": "test", "limit": 50, "shift": "noise"}


def experiment(tmp_path, change=lambda suite: None, name="experiment.yaml") -> Plan:
    suite = copy.deepcopy(SMOKE)
    change(suite)
    path = tmp_path / name
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return Plan({"suite": str(path)}, ROOT)


def outputs(plan: Plan) -> set[str]:
    """Everything that the suite's jobs write, but the data sets that all suites share."""
    splits = {
        path
        for name in plan.benchmarks
        for place in (plan.folders.benchmark, plan.folders.trained)
        for path in plan.data_files(place(name), plan.benchmark(name).splits())
    }
    runs = plan.runs(*MODEL_FILES, "predictions.parquet", "metrics.csv")
    own = [*plan.summaries(), *plan.figure_files(), *plan.table_files(), *plan.examples(), *plan.study_files("v")]
    return {*splits, *runs, *own}


def definitions(suite) -> dict[str, str]:
    """What decides the content of each folder, by its name."""
    found = {f"{name} trained": training_definition(record) for name, record in suite.benchmarks.items()}
    found |= {name: prediction_definition(record) for name, record in suite.benchmarks.items()}
    pairs = {(benchmark, method) for benchmark, method, _ in suite.jobs()}
    return found | {"/".join(pair): canonical_json(run_settings(suite, *pair)) for pair in pairs}


def test_committed_suites_agree_wherever_they_share_a_folder():
    known = {path.stem: definitions(load_suite(path.stem, ROOT)) for path in committed_suites(ROOT)}
    assert len(known) > 3
    shared = 0
    for (first, one), (second, other) in itertools.combinations(known.items(), 2):
        for name in one.keys() & other.keys():
            assert one[name] == other[name], f"{first} and {second} define {name} differently"
            shared += 1
    assert shared, "cifar10 and paper have benchmarks in common"


@pytest.mark.parametrize("suite", ["smoke", "config/suites/smoke.yaml"])
def test_a_committed_suite_has_plain_folders(suite, monkeypatch):
    monkeypatch.chdir(ROOT)
    plan = Plan({"suite": suite}, ROOT)
    assert plan.folders == Folders(evaluated="results/smoke/runs")
    assert plan.results == "results/smoke"
    assert plan.reports == "reports/smoke"


def test_no_two_committed_suites_share_results():
    plans = [Plan({"suite": path.stem}, ROOT) for path in committed_suites(ROOT)]
    for first, second in itertools.combinations(plans, 2):
        assert not {*first.summaries(), *first.figure_files()} & {*second.summaries(), *second.figure_files()}


def test_an_equal_suite_shares_all_runs_but_no_results(tmp_path):
    plan, smoke = experiment(tmp_path), Plan({"suite": "smoke"}, ROOT)
    assert plan.runs("model.json", "predictions.parquet") == smoke.runs("model.json", "predictions.parquet")
    assert plan.results == "results/experiment"
    assert not {*plan.summaries(), *plan.examples()} & {*smoke.summaries(), *smoke.examples()}


def test_the_name_of_a_committed_suite_does_not_take_its_results(tmp_path):
    assert experiment(tmp_path, name="smoke.yaml").results == "results/smoke~own"


def test_a_family_is_compared_in_replicates_that_the_committed_suite_does_not_run(tmp_path):
    """Another suite may run them: the folder of a replicate has the committed definition of the family."""

    def more(suite):
        suite["runs"].append({"benchmark": "smoke_open_set", "methods": ["dias_ce"], "seeds": [7]})

    def other(suite):
        more(suite)
        suite["benchmarks"]["smoke_open_set"]["train"]["limit"] = 60
        suite["methods"]["dias"]["set"]["gan_width"] = 8
        suite["runs"].append({"benchmark": "smoke_open_set", "methods": ["dias"], "seeds": [7]})

    assert experiment(tmp_path, more).folders == Folders(evaluated="results/experiment/runs")
    folders = experiment(tmp_path, other).folders
    assert set(folders.training) == set(folders.benchmarks) == {f"smoke_open_set_s{r}" for r in (0, 1, 7)}
    assert set(folders.methods) == {f"smoke_open_set_s{r}/dias" for r in (0, 1, 7)}


LOOKS = {"looks": [3, 5], "weights": [0.5, 0.5]}


def test_planned_replicates_are_read_for_a_sequential_audit(tmp_path, monkeypatch):
    planned = ROOT / "results" / "experiment_looks" / "replicates.json"
    read = {str(planned): {"smoke_open_set": {"dias_ce": 4}, "smoke_one_class": {"csi": 3}}}
    monkeypatch.setattr("reprood.pipeline.suites.read_json", lambda path: read[str(path)])
    monkeypatch.setattr(Path, "is_file", lambda path: str(path) in read or path.exists())
    plan = experiment(tmp_path, set_at("evidence", value=LOOKS), "experiment_looks.yaml")
    runs = [(benchmark, seed) for benchmark, method, seed in plan.jobs if method == "dias_ce"]
    assert runs == [(f"smoke_open_set_s{r}", r) for r in range(4)]
    assert [(b, s) for b, m, s in plan.jobs if m == "csi"] == [
        ("smoke_one_class_a", 0), ("smoke_one_class_b", 1), ("smoke_one_class_a", 2),
    ]  # fmt: skip
    assert plan.places["smoke_open_set"] == [f"smoke_open_set_s{r}" for r in range(4)]
    assert "replicates" in plan.suite_parameters()
    without = experiment(tmp_path, name="experiment_looks.yaml")
    assert len(without.places["smoke_open_set"]) == 2
    read[str(planned)] = {"smoke_open_set": {"dias_ce": "many"}}
    with pytest.raises(ReproodError, match=r"replicates.json: replicates.smoke_open_set.dias_ce"):
        experiment(tmp_path, set_at("evidence", value=LOOKS), "experiment_looks.yaml")


def test_commands_do_not_grow_with_the_replicates(tmp_path):
    """A command that holds a suite must stay below 128 KiB, the limit of one argument on Linux."""

    def more(count):
        def change(suite):
            for group in suite["runs"]:
                group["seeds"] = count if group["benchmark"] == "smoke_open_set" else group.get("seeds", [0])

        return change

    few, many = (experiment(tmp_path, more(count)) for count in (2, 40))
    assert len(many.places["smoke_open_set"]) == 40
    assert len(many.suite_parameters()) < len(few.suite_parameters()) + 150
    assert len(many.drawing_suite("smoke_open_set")) < len(few.drawing_suite("smoke_open_set")) + 400
    paper = Plan({"suite": "paper"}, ROOT)  # its whole record goes through a file
    assert max(len(paper.drawing_suite(place)) for place in paper.places) < 60_000


def test_a_name_that_no_folder_can_have_is_refused(tmp_path):
    with pytest.raises(ReproodError, match="file name must consist of letters"):
        experiment(tmp_path, name="my suite.yaml")


def set_at(*path, value):
    def change(suite):
        for key in path[:-1]:
            suite = suite[key]
        suite[path[-1]] = value

    return change


def new_arm(suite):
    suite["methods"]["erm_smooth"] = {"use": "erm", "label": "CE, smoothed", "set": {"label_smoothing": 0.1}}
    suite["runs"].append({"benchmark": BENCHMARK, "methods": ["erm_smooth"]})


SETTING = set_at("methods", "cutmix", "set", value={"alpha": 0.5})
OOD = set_at("benchmarks", BENCHMARK, "ood", "gaussian", value=GAUSSIAN)
CHANGES = {
    # what changes: (whose models, whose predictions) are the experiment's own, as (benchmark, method)
    "an OOD set": (OOD, lambda b, m: False, lambda b, m: b == BENCHMARK),
    "an attack": (
        set_at("benchmarks", "smoke_robust", "attacks", "weak", value={"kind": "fgsm", "eps": 0.01}),
        lambda b, m: False,
        lambda b, m: b == "smoke_robust",
    ),
    "training data": (
        set_at("benchmarks", BENCHMARK, "train", "limit", value=60),
        lambda b, m: b == BENCHMARK,
        lambda b, m: b == BENCHMARK,
    ),
    "test data": (
        set_at("benchmarks", BENCHMARK, "test", "limit", value=60),
        lambda b, m: b == BENCHMARK,
        lambda b, m: b == BENCHMARK,
    ),
    "label noise": (
        set_at("benchmarks", BENCHMARK, "label_noise", value={"kind": "uniform", "strength": 0.2}),
        lambda b, m: b == BENCHMARK,
        lambda b, m: b == BENCHMARK,
    ),
    "a method's setting": (SETTING, lambda b, m: m == "cutmix", lambda b, m: m == "cutmix"),
    "settings of all": (
        set_at("settings", "training", "epochs", value=3),
        lambda b, m: True,
        lambda b, m: True,
    ),
    "the root seed": (set_at("suite_seed", value=1), lambda b, m: True, lambda b, m: True),
    "the precision": (set_at("precision", value="bf16"), lambda b, m: True, lambda b, m: True),
    "a seed": (set_at("seeds", value=[0, 1, 2]), lambda b, m: False, lambda b, m: False),
    "an arm": (new_arm, lambda b, m: False, lambda b, m: False),
    "a detector of logits": (
        set_at("benchmarks", BENCHMARK, "detectors", "oe_cross_entropy", value={}),
        lambda b, m: False,
        lambda b, m: False,
    ),
    "a detector of features": (
        set_at("benchmarks", "smoke_robust", "detectors", "knn", value={}),
        lambda b, m: False,
        lambda b, m: b == "smoke_robust",
    ),
    "a title": (set_at("benchmarks", BENCHMARK, "title", value="Another"), lambda b, m: False, lambda b, m: False),
    "a note": (set_at("benchmarks", BENCHMARK, "note", value="Another"), lambda b, m: False, lambda b, m: False),
    "a label": (set_at("methods", "erm", "label", value="Another"), lambda b, m: False, lambda b, m: False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_an_experiment_has_for_itself(tmp_path, name):
    change, models, predictions = CHANGES[name]
    plan, smoke = experiment(tmp_path, change), Plan({"suite": "smoke"}, ROOT)
    for job in smoke.jobs:
        benchmark, method, _ = job
        for file, own in (("model.safetensors", models), ("predictions.parquet", predictions)):
            shared = plan.run_file(*job, file) == smoke.run_file(*job, file)
            assert shared is not own(benchmark, method), (job, file)
    for folders in (plan.folders.benchmarks, plan.folders.training):
        assert all(plain_name(folder) == benchmark for benchmark, folder in folders.items())
    differing = {b for b, m in smoke.pairs if predictions(b, m) and not predictions(b, "another method")}
    for benchmark in plan.benchmarks:
        assert plan.drawing_inputs(benchmark) or benchmark in differing


@pytest.mark.parametrize("name", CHANGES)
def test_what_an_experiment_shares_has_the_same_parameters(tmp_path, name):
    """Two suites that write one file must run the same job for it, or they would overwrite each other in turn."""
    plan, smoke = experiment(tmp_path, CHANGES[name][0]), Plan({"suite": "smoke"}, ROOT)
    for job in set(smoke.jobs) & set(plan.jobs):
        benchmark, method, _ = job
        if plan.run_file(*job, "model.json") == smoke.run_file(*job, "model.json"):
            assert plan.train_parameters(*job) == smoke.train_parameters(*job)
            for split in plan.training_splits(benchmark):
                assert plan.split_parameters(benchmark, split) == smoke.split_parameters(benchmark, split)
        if plan.run_file(*job, "predictions.parquet") == smoke.run_file(*job, "predictions.parquet"):
            assert plan.predict_parameters(benchmark, method) == smoke.predict_parameters(benchmark, method)
            assert plan.lint_parameters(benchmark) == smoke.lint_parameters(benchmark)


@pytest.mark.parametrize("name", CHANGES)
def test_an_experiment_has_its_own_scores_and_metrics(tmp_path, name):
    plan, smoke = experiment(tmp_path, CHANGES[name][0]), Plan({"suite": "smoke"}, ROOT)
    assert not set(plan.runs(*EVALUATED_FILES)) & set(smoke.runs(*EVALUATED_FILES))


def test_a_change_redraws_only_the_benchmarks_that_show_it(tmp_path):
    before, after = (experiment(tmp_path, change) for change in (lambda suite: None, new_arm))
    others = [name for name in before.places if name != BENCHMARK]
    assert others
    assert before.drawing_suite(BENCHMARK) != after.drawing_suite(BENCHMARK)
    assert [before.drawing_suite(name) for name in others] == [after.drawing_suite(name) for name in others]
    suite = Suite.model_validate_json(before.drawing_suite(BENCHMARK))
    assert list(suite.jobs()) == [job for job in before.jobs if job[0] == BENCHMARK]
    assert {suite.palette[method] for method in suite.methods} <= set(range(len(PALETTE)))


def test_two_experiments_do_not_share_what_differs(tmp_path):
    one = experiment(tmp_path, set_at("methods", "cutmix", "set", value={"alpha": 0.5}))
    other = experiment(tmp_path, set_at("methods", "cutmix", "set", value={"alpha": 0.7}))
    job = (BENCHMARK, "cutmix", 0)
    assert one.run_file(*job, "model.json") != other.run_file(*job, "model.json")


def test_the_readers_get_the_folders_with_the_suite(tmp_path):
    from reprood.cli.options import suite_of

    def change(suite):
        OOD(suite)
        SETTING(suite)

    plan = experiment(tmp_path, change)
    suite = suite_of(plan.suite_parameters())
    assert suite.name == "experiment"
    for job in plan.jobs:
        for file in ("model.json", "predictions.parquet"):
            assert suite.folders.file(*job, file) == plan.run_file(*job, file)


def test_a_suite_cannot_set_its_folders(tmp_path):
    for key, value in (("name", "x"), ("palette", {"a": 0}), ("folders", {"methods": {"a/b": "../x"}})):
        with pytest.raises(ReproodError, match=f"{key}: this key is set by the workflow"):
            experiment(tmp_path, set_at(key, value=value))


@pytest.mark.parametrize("folder", ["../x", "a~1", "a/b~01234567", "a~0123456g", ""])
def test_folders_are_names_with_a_hash(folder):
    with pytest.raises(ValueError, match="pattern"):
        Folders(benchmarks={"a": folder})
