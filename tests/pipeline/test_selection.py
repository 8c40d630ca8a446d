"""A part of a suite, or one with changed settings, shares what is equal and keeps the rules of the whole suite."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from reprood.audit.needs import judged_on, places_of
from reprood.audit.papers import load_papers
from reprood.config.selection import Selection, command_line_values, nested_values
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.pipeline.plan import Plan
from reprood.pipeline.suites import paper_files

ROOT = Path(__file__).resolve().parents[2]
FILES = ("model.safetensors", "predictions.parquet")


def plan(*pairs: str, suite: str = "quick") -> Plan:
    return Plan(command_line_values([f"suite={suite}", *pairs]), ROOT)


@pytest.fixture(scope="module")
def whole() -> Plan:
    return plan()


def names(made: Plan) -> set[str]:
    return {f"{made.suite.benchmarks[b].family or b}/{m}/{s}" for b, m, s in made.jobs}


def test_one_paper_runs_what_its_claims_need_and_judges_only_it(whole):
    made = plan("paper=cutmix")
    assert names(made) == {f"fashion_ood/{method}/{seed}" for method in ("erm", "cutmix") for seed in range(5)}
    assert made.papers() == ["config/papers/cutmix.yaml"]
    assert [page for page in made.pages() if page.startswith("papers/")] == ["papers/cutmix.html"]
    assert (made.results, made.reports) == ("results/quick~cutmix", "reports/quick~cutmix")
    assert made.runs(*FILES) == [path for path in whole.runs(*FILES) if path in set(made.runs(*FILES))]
    assert not {*made.summaries(), *made.figure_files()} & {*whole.summaries(), *whole.figure_files()}
    for job in made.jobs:
        assert made.train_parameters(*job) == whole.train_parameters(*job)
        assert made.predict_parameters(*job[:2]) == whole.predict_parameters(*job[:2])
    assert made.suite.selection == "paper=cutmix"
    assert made.suite.note.startswith("Selection of the suite: paper=cutmix. 10 of 110 trainings.")


def test_the_main_claims_run_what_they_need_where_they_count():
    made = plan("claims=main", suite="evidence")
    assert {f"fashion_ood/godin_c/{seed}" for seed in range(5)} <= names(made)
    assert not {f"fashion_steps/godin_c/{seed}" for seed in range(5)} & names(made)  # the same claims, judged elsewhere
    assert made.results == "results/evidence~claims-main"
    whole = plan(suite="evidence")
    papers = load_papers(paper_files(ROOT))
    here, there = places_of(made.suite), places_of(whole.suite)
    for paper, claim in ((one, claim) for one in papers for claim in one.claims if not claim.exploratory):
        able = judged_on(claim, paper, there, "reduced")
        assert bool(able) == bool(judged_on(claim, paper, here, "reduced")), claim.id
        assert not able or made.suite.judge[f"{paper.id}/{claim.id}"] in able
    both = plan("claims=main", "paper=cutmix", suite="evidence")
    assert names(both) < names(made)
    assert both.papers() == ["config/papers/cutmix.yaml"]


@pytest.mark.parametrize("paper", [path.stem for path in paper_files(ROOT)])
def test_every_claim_of_a_selected_paper_is_judged_where_the_whole_suite_judges_it(whole, paper):
    """Then Holm's family is the same: the other claims of the paper are not run in either."""
    (record,) = load_papers([ROOT / "config" / "papers" / f"{paper}.yaml"])
    other = places_of(whole.suite)
    if not any(judged_on(claim, record, other, "reduced") for claim in record.claims):
        with pytest.raises(ReproodError, match="the suite has no run for this"):
            plan(f"paper={paper}")
        return
    made = plan(f"paper={paper}")
    one = places_of(made.suite)
    for claim in record.claims:
        assert judged_on(claim, record, one, "reduced") == judged_on(claim, record, other, "reduced"), claim.id
        here, there = ([s.use for s in suite.studies.values()] for suite in (made.suite, whole.suite))
        assert (claim.study in here) == (claim.study in there)
    assert {name: made.study_parameters(name) for name in made.suite.studies} == {
        name: whole.study_parameters(name) for name in made.suite.studies
    }


@pytest.mark.parametrize(
    ("pairs", "runs"),
    [
        (["only=fashion_ood/erm/0"], {"fashion_ood/erm/0"}),
        (["only=[fashion_ood/erm, brick_defects/cutpaste/1]", "seeds=2"],
         {"fashion_ood/erm/0", "fashion_ood/erm/1", "brick_defects/cutpaste/1"}),
        (["only=fashion_one_class_bag/csi"], {"fashion_one_class/csi/4"}),
        (["paper=cutmix,godin", "only=fashion_ood/godin_c"], {f"fashion_ood/godin_c/{seed}" for seed in range(5)}),
        (["only=fashion_ood/erm", "seeds=[0,7]"], {"fashion_ood/erm/0", "fashion_ood/erm/7"}),
    ],
)  # fmt: skip
def test_runs_are_named_by_benchmark_method_and_seed(whole, pairs, runs):
    made = plan(*pairs)
    assert names(made) == runs
    shared = [job for job in made.jobs if job in set(whole.jobs)]
    assert [made.run_file(*job, FILES[0]) for job in shared] == [whole.run_file(*job, FILES[0]) for job in shared]


def test_a_claim_keeps_the_benchmark_on_which_it_counts():
    """The further benchmark of a claim does not become its main one because only that one is selected."""
    made = plan("only=fashion_open_set", suite="evidence")
    assert made.suite.judge["dias/beats_cross_entropy"] == "digits_open_set"


def test_replicates_are_selected_for_runs_and_studies():
    made = plan("seeds=[1,3]")
    assert {seed for _, _, seed in made.jobs} == {1, 3}
    assert {made.study_seeds(name) for name in made.suite.studies} == {(1, 3)}
    assert plan("seeds=2").jobs == plan("seeds='0,1'").jobs


def test_changed_settings_win_and_have_folders_of_their_own(whole):
    made = plan("set=[training.epochs=3, backbone.depth=16]", "only=fashion_ood")
    for job in made.jobs:
        settings = json.loads(made.train_parameters(*job))
        before = json.loads(whole.train_parameters(*job))
        assert settings["settings"]["training"].pop("epochs") == 3
        assert settings["backbone"].pop("depth") == 16
        del before["settings"]["training"]["epochs"], before["backbone"]["depth"]
        assert settings == before
    assert not set(made.runs(*FILES)) & set(whole.runs(*FILES))
    assert made.split_files("fashion_ood_s0", ["test"]) == whole.split_files("fashion_ood_s0", ["test"])
    assert plan("set={training: {epochs: 3}}", "paper=cutmix").name == "quick~cutmix~set-training.epochs-3"


def test_changes_below_a_key_of_the_suite_s_file(whole):
    made = plan("set=benchmarks.fashion_ood.train.limit=500", "only=fashion_ood/erm/0")
    assert made.benchmark("fashion_ood_s0").train.limit == 500
    assert made.folders.trained("fashion_ood_s0") != "fashion_ood_s0"
    one = plan("set=methods.cutmix.set.alpha=0.5", "only=fashion_ood")
    files = {m: one.run_file("fashion_ood_s0", m, 0, FILES[0]) for m in ("erm", "cutmix")}
    assert files["erm"] == whole.run_file("fashion_ood_s0", "erm", 0, FILES[0])
    assert files["cutmix"] != whole.run_file("fashion_ood_s0", "cutmix", 0, FILES[0])


def test_a_users_suite_that_extends_another_is_selected_and_changed(tmp_path, whole):
    path = tmp_path / "mine.yaml"
    half = {"use": "cutmix", "label": "Half", "set": {"alpha": 0.5}}
    runs = [{"benchmark": "fashion_ood", "methods": ["half"]}]
    record = {"title": "Mine", "extends": "quick", "methods": {"half": half}, "runs": runs}
    path.write_text(yaml.safe_dump(record))
    made = plan("only=[fashion_ood/half/0, fashion_ood/erm/0]", suite=str(path))
    own, erm = made.run_file("fashion_ood_s0", "half", 0, FILES[0]), ("fashion_ood_s0", "erm", 0, FILES[0])
    assert made.name == "mine~only-fashion_ood-erm-0.fashion_ood-half-0"
    assert made.run_file(*erm) == whole.run_file(*erm)
    changed = plan("set=alpha=0.7", "only=fashion_ood/half/0", suite=str(path))
    assert changed.run_file("fashion_ood_s0", "half", 0, FILES[0]) != own


def test_a_baseline_that_does_not_run_is_left_out_and_named():
    made = plan("only=fashion_corrupted/ss_auxiliary", suite="evidence")
    assert made.benchmark("fashion_corrupted").corruption.baseline == ""
    assert "Without relative corruption errors, whose baseline does not run: fashion_corrupted." in made.suite.note
    one = ("fashion_corrupted", "ss_auxiliary", 0, "predictions.parquet")
    assert made.run_file(*one) == plan(suite="evidence").run_file(*one)


def test_colours_and_record_of_a_selection(whole):
    made = plan("paper=godin")
    suite = Suite.model_validate_json(made.suite_parameters())
    assert suite.papers == ("godin",)
    colours = json.loads(whole.drawing_suite("fashion_ood"))["palette"]
    assert all(colours[m] == place for m, place in json.loads(made.drawing_suite("fashion_ood"))["palette"].items())
    assert not {"papers", "selection"} & json.loads(whole.suite_parameters()).keys()


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["paper=cutmx"], "there is no paper 'cutmx'; did you mean 'cutmix'? Known: biamat"),
        (["only=fashion_od"], "nothing runs on 'fashion_od'; did you mean 'fashion_ood'?"),
        (["only=fashion_ood/cutmx"], "fashion_ood has no method 'cutmx'; did you mean 'cutmix'?"),
        (["only=fashion_ood/erm/9"], "fashion_ood/erm has no seed '9'; known: 0, 1, 2, 3, 4 (seeds= chooses others)"),
        (["only=a/b/0/1"], "expected benchmark/method/seed"),
        (["paper=cutmix", "only=brick_defects"], "paper=cutmix; only=brick_defects: the suite has no run for this"),
        (["seeds=many"], "expected a number of replicates, or a list of seeds"),
        (["set=training.epoch=3"], "erm has no setting 'epoch'; did you mean 'epochs'?"),
        (["set=alpha=0.5"], "erm has no setting 'alpha'; known: backbone, label_smoothing, training"),
        (["set=training.epochs=three", "only=fashion_ood"], "fashion_ood/erm: training.epochs: Input should be"),
        (["set=training.epochs"], "'training.epochs' is not KEY=VALUE"),
        (["set=methods.cutmx.set.alpha=1"], "methods.cutmx: the suite has no such name; did you mean 'cutmix'?"),
        (["papr=cutmix"], "papr: this key is not known; did you mean 'paper'?"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence_with_the_closest_name(pairs, words):
    with pytest.raises(ReproodError) as caught:
        plan(*pairs)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count(". ") <= str(caught.value).count("? Known") + 1


def test_different_selections_have_different_folders():
    some = [
        {"paper": "cutmix"}, {"paper": "csi"}, {"paper": ["cutmix", "csi"]}, {"only": "cutmix"}, {"only": "a/b"},
        {"only": ["a", "b"]}, {"claims": "main"},
        {"seeds": 2}, {"seeds": [2]}, {"set": "a.b=1"}, {"set": "a.b=1.5"}, {"set": "a=b-1"},
        {"set": {"a": {"b": -1}}}, {"set": ["a.b=1", "c=2"]},
        {"only": ["x" * 50, "y" * 50]}, {"only": ["x" * 50, "z" * 50]},
    ]  # fmt: skip
    folders = [Selection.model_validate(one).folder for one in some]
    assert len(set(folders)) == len(some)
    assert all(len(one) < 80 and set(one) <= set("~-._abcdefghijklmnopqrstuvwxyz0123456789") for one in folders)


def test_nested_values_of_the_command_line_keep_their_types():
    assert nested_values(["seeds=[0, 1]", "device=cpu", "datasets={mine: {channels: 3}}"]) == {
        "seeds": [0, 1],
        "datasets": {"mine": {"channels": 3}},
    }
    with pytest.raises(ReproodError, match=r"--config seeds: '\[0, 1' is not valid YAML"):
        nested_values(["seeds=[0, 1"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("paper=cutmx", "reprood: error: --config paper: there is no paper 'cutmx'; did you mean 'cutmix'?"),
        ("datasets={mine: {channels: 2}}", "datasets: mine: title: this key is missing"),
    ],
)
def test_snakemake_says_mistakes_in_one_sentence(pair, words):
    command = [str(Path(sys.executable).parent / "snakemake"), "-n", "--config", "suite=smoke", pair]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("reprood: error:")]
    assert done.returncode == 1
    assert words in line
    assert "Traceback" not in done.stderr
