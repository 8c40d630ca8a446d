"""The sides of a claim differ only in what the claim is about, or as it declares; in every committed suite."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reprood.audit.papers import load_papers
from reprood.audit.recipes import Change, Recipe, changes, covers, undeclared
from reprood.cli.comparisons import Comparison, compare_claims, listing
from reprood.pipeline.plan import Plan
from reprood.train.run import parse_config

ROOT = Path(__file__).parents[2]
SUITES = sorted(path.stem for path in (ROOT / "config" / "suites").glob("*.yaml"))
TRAINING = {"epochs": 200, "schedule": "multistep", "milestones": (0.5,), "final_lr": 0.0, "augment": "crop_flip"}
ERM = Recipe("erm", "erm", {"training": TRAINING, "label_smoothing": 0.0}, {"name": "wrn"}, "fp32", (0, 1))


def other(**training: object) -> Recipe:
    settings = {"training": {**TRAINING, **training}, "label_smoothing": 0.0, "mix": "cutmix"}
    return replace(ERM, method="cutmix", use="cutmix", settings=settings)


@pytest.mark.parametrize(
    ("second", "names"),
    [
        (other(), []),
        (other(epochs=300), ["training.epochs"]),
        (other(schedule="cosine"), ["training.schedule"]),
        (other(final_lr=0.1), []),  # this schedule does not use it
        (other(monitor_every=5), []),
        (replace(other(), backbone={"name": "wrn", "depth": 28}), ["backbone.depth"]),
        (replace(other(), seeds=(0,)), ["seeds"]),
        (replace(other(), precision="bf16"), ["precision"]),
        (replace(other(), settings={**other().settings, "label_smoothing": 0.1}), ["label_smoothing"]),
    ],
)
def test_shared_settings_must_be_declared(second: Recipe, names: list[str]) -> None:
    found = changes(ERM, second)
    assert [one.name for one in found if one.shared] == names
    assert [one.name for one in undeclared(found, [])] == names
    assert undeclared(found, names) == []
    assert "mix" in [one.name for one in found if not one.shared]  # what the claim is about
    assert changes(second, second) == []


def test_variants_of_one_method_may_differ_in_their_own_settings() -> None:
    variant = replace(ERM, method="label_smoothing", settings={**ERM.settings, "label_smoothing": 0.1})
    assert [(one.name, one.shared) for one in changes(ERM, variant)] == [("label_smoothing", False)]
    phase = replace(variant, settings={**ERM.settings, "pretrain": TRAINING})
    assert undeclared(changes(replace(ERM, settings={**ERM.settings, "pretrain": None}), phase), []) != []


def comparisons(suite: str) -> list[Comparison]:
    plan = Plan({"suite": suite}, ROOT)
    records = {(b, m): json.loads(plan.train_parameters(b, m, 0)) for b, m in plan.pairs}
    return compare_claims(plan, {pair: parse_config(record).model_dump() for pair, record in records.items()})


@pytest.mark.slow
def test_every_claim_of_every_suite_compares_equal_recipes() -> None:
    """And no claim declares a difference that no suite has."""
    found = {suite: comparisons(suite) for suite in SUITES}
    wrong = [
        f"{suite}: {one.claim}: {next(one.clauses())}"
        for suite, each in found.items()
        for one in each
        if one.undeclared
    ]
    assert wrong == []
    occurring: dict[str, set[str]] = {}
    for one in (one for each in found.values() for one in each):
        occurring.setdefault(one.claim, set()).update(change.name for change in one.recipe if change.shared)
    for paper in load_papers(sorted((ROOT / "config" / "papers").glob("*.yaml"))):
        for claim in paper.claims:
            names = occurring.get(f"{paper.id}/{claim.id}", set())
            for declared in claim.differs:
                assert any(covers(declared, name) for name in names), f"{paper.id}/{claim.id}: {declared}"


def comparison(claim: str, benchmark: str, *, declared: bool = False, published: str = "") -> Comparison:
    recipe = (Change("training.lr", 0.1, 0.2, shared=True),) if declared else ()
    return Comparison(f"{claim}", benchmark, recipe, (), published, described=True)


def test_differences_are_listed_by_paper_and_summed_up_in_one_line() -> None:
    given = [
        comparison("a/wins", "digits", declared=True, published="trained on digits, published for letters"),
        comparison("a/wins", "letters"),
        comparison("b/loses", "digits", published="trained in bf16, published in fp32"),
    ]
    (line,) = listing(given, verbose=False)
    assert line.startswith("3 comparisons of 2 claims: recipes equal or as the claim says in all but 0,")
    assert "declared differences in 1; 1 in the published setting" in line
    lines = listing(given, verbose=True)
    assert lines[:-1] == [
        "",
        "a",
        "  wins on digits",
        "    declared differences: training.lr 0.1/0.2",
        "    from the published setting: trained on digits, published for letters",
        "  wins on letters",
        "    from the published setting: no difference",
        "",
        "b",
        "  loses on digits",
        "    from the published setting: trained in bf16, published in fp32",
        "",
    ]
    assert lines[-1].startswith(line.partition(". List")[0])
