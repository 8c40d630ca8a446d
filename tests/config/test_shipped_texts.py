"""The suites and papers of this repository: complete sentences in the notes, and no benchmark twice in a suite."""

import re
from pathlib import Path

import pytest

from reprood.audit.needs import judged_on, places_of
from reprood.audit.papers import load_papers
from reprood.config.load import load_suite
from reprood.core.yaml import read_yaml

ROOT = Path(__file__).parents[2]
SUITES = sorted(path.stem for path in (ROOT / "config" / "suites").glob("*.yaml"))
DATA = ("preparation", "train", "validation", "test", "ood", "auxiliary", "label_noise", "evaluations", "settings")


def incomplete(texts: dict[str, str]) -> list[str]:
    """Names of texts that end in the middle of a sentence."""
    return [name for name, text in texts.items() if text and not text.rstrip().endswith((".", "!", "?", ".)"))]


@pytest.mark.parametrize("name", SUITES)
def test_notes_of_a_suite_are_complete_sentences(name: str) -> None:
    suite = load_suite(name, ROOT)
    parts = {**suite.benchmarks, **suite.studies}
    assert incomplete({"suite": suite.note, **{key: part.note for key, part in parts.items()}}) == []


def test_notes_of_papers_and_data_sets_are_complete_sentences() -> None:
    for paper in load_papers(sorted((ROOT / "config" / "papers").glob("*.yaml"))):
        texts = {"summary": paper.summary, "method": paper.method}
        texts |= {f"{claim.id}.statement": claim.statement for claim in paper.claims}
        texts |= {f"{claim.id}.note": claim.note for claim in paper.claims}
        assert incomplete(texts) == [], paper.id
    catalogue = read_yaml(ROOT / "config" / "datasets.yaml")
    assert incomplete({name: str(record.get("note", "")) for name, record in catalogue.items()}) == []


def test_a_note_without_its_end_is_noticed() -> None:
    assert incomplete({"a": "SVHN is the far one. The", "b": "It is.", "c": ""}) == ["a"]


@pytest.mark.parametrize("name", SUITES)
def test_no_benchmark_repeats_another(name: str) -> None:
    """Two benchmarks with the same data, settings and evaluations would be the same trainings twice."""
    seen: dict[str, str] = {}
    for benchmark, record in load_suite(name, ROOT).benchmarks.items():
        key = record.model_dump_json(include=set(DATA))
        assert key not in seen, f"{benchmark} repeats {seen.get(key)}"
        seen[key] = benchmark


def test_experiments_name_benchmarks_that_exist_and_all_claims() -> None:
    suites = {name: load_suite(name, ROOT) for name in SUITES}
    for paper in load_papers(sorted((ROOT / "config" / "papers").glob("*.yaml"))):
        unknown = [name for experiment in paper.experiments for name in experiment.unknown(suites)]
        assert unknown == [], f"{paper.id}: no suite has them"
        named = {claim for experiment in paper.experiments for claim in experiment.claims}
        assert {claim.id for claim in paper.claims} == named, paper.id
        omitted = [
            one for one in paper.experiments if one.omitted and not re.search("large images|ImageNet", one.omitted)
        ]
        assert len(omitted) <= max(1, len(paper.experiments) // 10), paper.id


def test_every_benchmark_of_an_experiment_measures_a_claim_or_a_published_number_of_it() -> None:
    suites = {name: load_suite(name, ROOT) for name in SUITES}
    places = {name: places_of(suite) for name, suite in suites.items()}
    idle = []
    for paper in load_papers(sorted((ROOT / "config" / "papers").glob("*.yaml"))):
        for one in paper.experiments:
            claims = [claim for claim in paper.claims if claim.id in one.claims and not claim.study]
            for suite, name in (place.split("/") for place in one.benchmarks if claims):
                place = places[suite][name]
                judged = any(name in judged_on(claim, paper, places[suite], suites[suite].scale) for claim in claims)
                arms = {number.measured_by for number in paper.numbers_of(one) if number.measured_by}
                if not judged and not any(paper.method_of(arm, place.methods) for arm in arms):
                    idle.append(f"{paper.id}: {one.title}: {suite}/{name}")
    assert idle == []


def test_every_main_claim_is_judged_at_the_papers_scale() -> None:
    suites = {name: load_suite(name, ROOT) for name in SUITES}
    papers = load_papers(sorted((ROOT / "config" / "papers").glob("*.yaml")))
    somewhere = {
        f"{paper.id}/{claim.id}"
        for suite in suites.values()
        if suite.scale == "paper"
        for places in [places_of(suite)]
        for paper in papers
        for claim in paper.claims
        if judged_on(claim, paper, places, suite.scale)
        or claim.study in {study.use for study in suite.studies.values()}
    }
    main = {f"{paper.id}/{claim.id}" for paper in papers for claim in paper.claims if not claim.exploratory}
    assert main - somewhere <= {"godin/both_shifts_easier", "godin/style_alone"}  # on DomainNet
