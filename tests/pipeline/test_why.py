"""`reprood why`: what an edit re-runs, and why jobs would run."""

import base64
import json
import re
from pathlib import Path

import pytest

from reprood.core.errors import ReproodError
from reprood.pipeline import fingerprint, why
from reprood.pipeline.fingerprint import PACKAGE, closure, code_hash
from reprood.pipeline.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
# Functions of the rules whose fingerprints depend on the method or study: the other jobs of `why.jobs`.
BY_WILDCARD = {
    "train_code",
    "train_streamed_code",
    "predict_code",
    "example_code",
    "study_code",
    "drawing_code",
    "split_code",
    "corrupted_code",
}
IN_A_LOOP = {"plan"}  # plan.evaluate_code(name), plan.drawing_code_of(name)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan({"suite": "smoke"}, ROOT)


def test_every_rule_with_a_fingerprint_is_known(plan):
    parameters = []
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        parameters += re.findall(r"\bcode=(\w+)", path.read_text())
    assert set(parameters) == BY_WILDCARD | IN_A_LOOP | {"code"}
    fixed = why.fixed_jobs(ROOT / why.RULES)
    assert len(fixed) == parameters.count("code")
    assert len({job.rule for job in fixed}) == len(fixed)
    assert all(job.entries and all(map(fingerprint.source, job.entries)) for job in fixed)
    assert {job.rule for job in why.jobs(plan)} - {job.rule for job in fixed} == {
        "split", "corrupted", "train", "predict", "examples", "study", "study_figure", "evaluate", "draw",
    }  # fmt: skip


def test_an_edit_of_a_method_re_runs_its_runs(plan):
    effects = why.effects("reprood.methods.godin", why.jobs(plan))
    assert {(effect.job.rule, effect.job.name) for effect in effects} == {
        ("train", "smoke_letters/godin_c"),
        ("predict", "smoke_letters/godin_c"),
        ("examples", "smoke_letters"),
    }
    assert {effect.chain for effect in effects} == {("reprood.methods.godin",)}


def test_effects_are_the_jobs_whose_closure_holds_the_module(plan):
    jobs = why.jobs(plan)
    for module in ("reprood.engine.fit", "reprood.core.yaml", "reprood.data.arrays", "reprood.nets.wrn"):
        effects = why.effects(module, jobs)
        expected = [job for job in jobs if any(module in closure(entry) for entry in job.entries)]
        assert [effect.job for effect in effects] == expected
        for effect in effects:
            assert effect.chain[0] in effect.job.entries
            assert effect.chain[-1] == module


def test_explanations_of_an_edit(plan, tmp_path):
    lines = why.explain_edit(PACKAGE / "methods" / "godin.py", plan)
    assert "reprood.methods.godin" in lines[0]
    assert any(line.split() == ["train", "smoke_letters/godin_c;", "methods.godin"] for line in lines)
    assert any("predict, evaluate, audit, report" in line for line in lines)
    assert len(why.explain_edit(PACKAGE / "core" / "messages.py", plan)) == 1
    assert "re-runs nothing" in why.explain_edit(PACKAGE / "core" / "messages.py", plan)[0]
    (tmp_path / "notes.txt").write_text("")
    assert "not a module" in why.explain_edit(tmp_path / "notes.txt", plan)[0]
    with pytest.raises(ReproodError, match="There is no file"):
        why.explain_edit(tmp_path / "none.py", plan)


OLD, NEW = "'0123456789abcdef'", "'fedcba9876543210'"


def changed(before: str, now: str) -> str:
    return (
        "Params have changed since last execution: Union of exclusive params before and now across all output: "
        f"before: {before} now: {now} "
    )


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("Missing output files: a.csv", ["not computed yet"]),
        ("Incomplete output files: a.csv", ["interrupted before it was finished"]),
        ("Updated input files: a.csv", ["the content of its inputs changed"]),
        ("Input files updated by another job: a.csv", ["its inputs are computed again"]),
        ("Set of input files has changed since last execution", ["it reads other files"]),
        ("Code has changed since last execution", ["the command in its rule changed"]),
        (changed(OLD, NEW), ["its code changed"]),
        (
            changed("'torch 2.12.0; numpy 2.1.0'", "'torch 2.13.0; numpy 2.1.0'"),
            ["package versions changed (torch 2.12.0; numpy 2.1.0 -> torch 2.13.0; numpy 2.1.0)"],
        ),
        (
            changed("""'{"a":{"lr":1,"x":[1]},"b":"c"}'""", """'{"a":{"lr":2,"x":[1]},"d":true}'"""),
            ['its settings changed (a.lr: 1 -> 2, b: "c" -> none, d: none -> true)'],
        ),
        (
            changed(f"""{OLD},'{{"a":1}}'""", f"""'{{"a":2}}',{NEW}"""),
            ["its code changed", "its settings changed (a: 1 -> 2)"],
        ),
        (changed("'x'", "'y'"), ["its settings changed"]),
        (changed("<nothing exclusive>", NEW), ["its code changed"]),
        (changed("'x'", "<nothing exclusive>"), ["its settings changed"]),
        (f"Missing output files: a; {changed(OLD, NEW)}", ["not computed yet", "its code changed"]),
        ("Forced execution", ["Forced execution"]),
        ("", ["requested"]),
    ],
)
def test_reasons_are_translated(reason, expected):
    assert why.translate(reason) == expected


def test_reading_a_dry_run():
    text = (
        "Building DAG of jobs...\n[Mon Nov 30 00:42:16 2026]\nrule train:\n    input: a\n    output: b, c\n"
        f"    jobid: 3\n    reason: {changed(OLD, NEW)}\n    wildcards: benchmark=toy, method=erm, seed=0\n"
        "    resources: tmpdir=/tmp\n[Mon Nov 30 00:42:16 2026]\nlocalrule plots:\n    output: p\n    jobid: 1\n"
        "    reason: Missing output files: p\n[Mon Nov 30 00:42:16 2026]\nrule all:\n    input: b\n    jobid: 0\n"
        "    reason: Input files updated by another job: b\nJob stats:\njob    count\n"
    )
    assert why.pending(text) == [
        why.Pending("train", "toy/erm/0", ("its code changed",)),
        why.Pending("plots", "", ("not computed yet",)),
    ]
    assert why.pending("Nothing to be done") == []


@pytest.mark.workflow
def test_the_entries_are_those_that_snakemake_recorded(built, plan):
    """Every fingerprint in Snakemake's records is the one of the job's entries."""
    recorded: dict[str, set[str]] = {}
    for path in (built.folder / ".snakemake" / "metadata").iterdir():
        record = json.loads(path.read_text())
        hashes = {text for text in record["params"] if re.fullmatch(r"'[0-9a-f]{16}'", text)}
        assert base64.b64decode(path.name)
        rule = re.sub(r"^(draw|evaluate)_.*", r"\1", record["rule"])
        recorded.setdefault(rule, set()).update(text.strip("'") for text in hashes)
    computed: dict[str, set[str]] = {}
    for job in why.jobs(plan):
        computed.setdefault(job.rule, set()).add(code_hash(*job.entries))
    for rule, hashes in recorded.items():
        assert hashes <= computed.get(rule, set()), rule
    assert set(computed) - set(recorded) <= {"publish", "index"}  # no data set of this suite is streamed


@pytest.mark.workflow
def test_why_on_a_finished_suite(built):
    """Nothing to do; an edit of a method; an edit of code that no training or prediction uses."""

    def explain() -> str:
        return built.run("reprood", "why", "--suite", "smoke").stdout

    assert explain().startswith("Nothing to do")
    for module, expected in (
        ("methods/godin.py", [r"train +2 \(smoke_letters/godin_c/\d, .*\): its code changed", r"predict +2 "]),
        ("core/messages.py", []),
        ("config/settings.py", []),
    ):
        path = built.folder / "src" / "reprood" / module
        text = path.read_text()
        try:
            path.write_text(text + "\nEDITED = 1\n")
            answer = explain()
        finally:
            path.write_text(text)
        for pattern in expected:
            assert re.search(pattern, answer), answer
        if not expected:
            assert answer.startswith("Nothing to do"), answer
    answer = built.run("reprood", "why", "--suite", "smoke", "src/reprood/methods/godin.py").stdout
    assert "smoke_letters/godin_c; methods.godin" in answer
