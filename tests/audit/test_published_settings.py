"""Published values and settings: when a measurement is compared with them."""

import shutil

import fabricate
import pytest
from toy_claims import ERROR, HERE, PUBLISHED, SETTINGS, fabricated, row, sides

from reprood.audit.cases import published_effect
from reprood.audit.papers import Paper
from reprood.audit.verdicts import audit

pytestmark = pytest.mark.usefixtures("few_replicates")


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ([{"dataset": "cifar100"}], "trained on d, published for cifar100"),
        ([{"dataset": "d", "backbone": {"name": "wrn", "depth": 28}}], "published for the network wrn depth 28"),
        ([{"dataset": "d", "precision": "bf16"}], "trained in fp32, published in bf16"),
    ],
)
def test_another_setting_than_the_published_one_is_no_reproduction(folder, tmp_path, where, words):
    claim = {**ERROR, "kind": "difference", "sides": sides(("good", ""), ("erm", "")), "where": where}
    found = row(folder, claim, tmp_path, scale="paper")
    assert (found["verdict"], found["scale"]) == ("supported at reduced scale", "reduced")
    assert words in found["reason"]
    one_of_many = {**claim, "where": [*where, *HERE]}
    assert row(folder, one_of_many, tmp_path, scale="paper")["verdict"] == "reproduced"
    value = {**claim, "kind": "equals", "margin": 6, "sides": sides(("good", "")), "published": ["a"]}
    found = row(folder, value, tmp_path, scale="paper")
    assert (found["verdict"], found["reason"]) == ("not judged at this scale", words)


@pytest.mark.parametrize("where", [HERE, []])
def test_a_copy_in_place_of_the_official_data_is_no_reproduction(folder, tmp_path, where):
    claim = {**ERROR, "kind": "difference", "sides": sides(("good", ""), ("erm", "")), "where": where}
    assert row(folder, claim, tmp_path, scale="paper")["verdict"] == "reproduced"
    found = row(folder, claim, tmp_path, scale="paper", substitutes={"d": "D (JPEG copy)", "unused": "U"})
    assert (found["verdict"], found["scale"]) == ("supported at reduced scale", "reduced")
    assert found["differences"] == "D (JPEG copy) in place of d"
    outliers = {"near_set": "N"}  # of which an error rate reads nothing
    assert row(folder, claim, tmp_path, scale="paper", substitutes=outliers)["verdict"] == "reproduced"


@pytest.mark.parametrize(
    ("setting", "differences"),
    [
        ({}, ""),
        ({"dataset": "elsewhere"}, "trained on d, published for elsewhere"),
        ({"checkpoint": "best_test"}, "here of the last epoch, published of the epoch with the best test error"),
        (None, "the published setting (s) is not described"),
    ],
)
def test_published_numbers_of_another_setting_are_marked(folder, tmp_path, setting, differences):
    """The effect stays in the table with the differences next to it; it is not compared with the measurement."""
    claim = {**ERROR, "kind": "difference", "sides": sides(("good", ""), ("erm", "")), "published": ["a", "b"]}
    record = fabricated(claim, published=PUBLISHED)
    record["settings"] = {} if setting is None else {"s": {**SETTINGS["s"], **setting}}
    suite = fabricate.suite(scale="paper")
    table = audit(suite, [Paper.model_validate(record)], folder, folder / "studies", tmp_path / "verdicts.csv")
    found = table.iloc[0]
    assert (found["differences"], found["comparable"]) == (differences, not differences)
    assert found["published_effect"] == -12
    value = {**claim, "kind": "equals", "margin": 6, "sides": sides(("good", "")), "published": ["a"], "where": HERE}
    record = {**fabricated(value, published=PUBLISHED), "settings": record["settings"]}
    table = audit(suite, [Paper.model_validate(record)], folder, folder / "studies", tmp_path / "verdicts.csv")
    wanted = ("not judged at this scale", differences) if differences else ("reproduced", table.iloc[0]["reason"])
    assert (table.iloc[0]["verdict"], table.iloc[0]["reason"]) == wanted


def test_a_claim_about_a_network_is_judged_on_no_other(folder, tmp_path):
    claim = {**ERROR, "kind": "difference", "sides": sides(("good", ""), ("erm", "")), "requires": ["network"]}
    other = [{"dataset": "d", "backbone": {"name": "resnet", "depth": 110}}]
    found = row(folder, {**claim, "where": other}, tmp_path)
    assert (found["verdict"], found["reason"]) == (
        "not judged at this scale", "this suite does not train this network"
    )  # fmt: skip
    here = row(folder, {**claim, "where": [{"dataset": "elsewhere"}]}, tmp_path)
    assert here["verdict"] == "supported at reduced scale", "the network fits, and the data set may differ"


def test_the_published_effect_of_an_ordering_is_that_of_the_step_shown(folder, tmp_path):
    """The weakest step is shown: here the second of three, whose sides are equal."""
    names = ("broken", "same", "erm", "good")
    values = dict(zip(names, (90.0, 21.0, 19.5, 8.0), strict=True))
    numbers = [{**PUBLISHED[0], "id": name, "value": value} for name, value in values.items()]
    for better, order in (("higher", names), ("lower", names[::-1])):
        claim = {**ERROR, "kind": "ordering", "better": better, "sides": sides(*((name, "") for name in order)),
                 "published": list(order)}  # fmt: skip
        paper = Paper.model_validate(fabricated(claim, published=numbers))
        table = audit(fabricate.suite(), [paper], folder, folder / "studies", tmp_path / "verdicts.csv")
        found = table.iloc[0]
        assert {found["first"], found["second"]} == {"same", "erm"}
        assert found["published_effect"] == pytest.approx(values[found["first"]] - values[found["second"]])


def test_a_published_value_that_no_benchmark_can_judge_is_listed_once(folder, tmp_path):
    """At reduced scale, however many benchmarks ran the method."""
    claim = {**ERROR, "kind": "equals", "margin": 6, "sides": sides(("good", "")), "published": ["a"], "where": HERE}
    paper = Paper.model_validate(fabricated(claim, published=PUBLISHED))
    record = fabricate.SUITE["benchmarks"]["toy"]
    suite = fabricate.suite(
        benchmarks={"toy": record, "again": record},
        runs=[{"benchmark": name, "methods": ["erm", "good"]} for name in ("toy", "again")],
    )
    runs = tmp_path / "runs"
    shutil.copytree(folder / "runs" / "toy", runs / "toy")
    shutil.copytree(folder / "runs" / "toy", runs / "again")
    table = audit(suite, [paper], tmp_path, folder / "studies", tmp_path / "verdicts.csv")
    assert list(table["verdict"]) == ["not judged at this scale"]
    assert list(table["benchmark"]) == [""]
    assert list(table["reason"]) == ["published values are compared only at the paper's scale"]


def test_a_difference_of_two_tables_names_both():
    numbers = [one | {"where": where} for one, where in zip(PUBLISHED, ("Table 1", "Table 4"), strict=False)]
    claim = {**ERROR, "kind": "difference", "sides": sides(("good", ""), ("erm", "")), "published": ["a", "b"]}
    paper = Paper.model_validate(fabricated(claim, published=[*numbers, *PUBLISHED[len(numbers) :]]))
    _, source = published_effect(paper.claims[0], paper)
    assert source.startswith("Table 1: s and Table 4: s; ")
