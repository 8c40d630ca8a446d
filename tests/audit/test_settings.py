"""A number or a claim is compared only in its own setting; every kind of difference is found, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from reprood.audit.papers import Paper, load_papers
from reprood.audit.settings import Measurement, Setting, attached, closest, major, substituted, texts
from reprood.config.benchmark import Benchmark
from reprood.config.load import load_suite
from reprood.data.catalogue import load_catalogue

ROOT = Path(__file__).parents[2]
NET = {"name": "wrn", "depth": 40, "width": 2}


def benchmark(**changes: object) -> Benchmark:
    sets = {"svhn": "far", "isun": "far", "textures": "far", "noise": "noise"}
    ood = {name: {"dataset": name, "split": "all", "shift": shift} for name, shift in sets.items()}
    ood["textures"]["extra"] = True  # type: ignore[assignment]
    record = {
        "title": "t",
        "preparation": {"size": 32, "channels": 3},
        **{name: {"dataset": "cifar10", "split": name} for name in ("train", "validation", "test")},
        "ood": ood,
        "means": {"oe": {"sets": ["svhn", "textures"], "base_rate": "1/6"}},
        "auxiliary": {"outliers": {"dataset": "random_images", "split": "train"}},
    }
    return Benchmark.model_validate({**record, **changes})


def measured(auxiliary: tuple[str, ...] = (), precision: str = "fp32", **changes: object) -> Measurement:
    return Measurement(benchmark(**changes), {**NET, "dropout": 0.3}, precision, auxiliary)


SAME = {"dataset": "cifar10", "backbone": NET, "ood": ["svhn", "isun"]}


@pytest.mark.parametrize(
    ("setting", "here", "split", "metric", "kinds"),
    [
        ({}, measured(), "mean_natural", "auroc", []),
        ({}, measured(), "", "top1_error", []),
        ({"dataset": "cifar100"}, measured(), "mean_natural", "auroc", ["data"]),
        ({"backbone": {**NET, "depth": 28}}, measured(), "mean_natural", "auroc", ["network"]),
        ({}, measured(), "mean_all", "auroc", ["ood"]),  # a set more than published
        ({"ood": ["svhn", "isun", "lsun"]}, measured(), "mean_natural", "auroc", ["ood"]),  # a set less
        ({"ood": ["svhn", "textures"]}, measured(), "mean_natural", "auroc", ["ood", "ood"]),
        ({"ood": ["svhn", "textures"]}, measured(), "oe", "auroc", []),
        ({"ood": ["svhn", "textures/all"]}, measured(), "oe", "auroc", []),
        ({"ood": ["svhn", "textures/test"]}, measured(), "oe", "auroc", ["ood", "ood"]),
        ({"ood": ["svhn"]}, measured(), "svhn", "auroc", []),
        ({"ood": ["svhn", "textures"]}, measured(), "oe", "aupr_out", ["base rate"]),
        ({"ood": ["svhn", "textures"], "base_rate": "1/6"}, measured(), "oe", "aupr_out", []),
        ({"base_rate": "1/6"}, measured(), "mean_natural", "aupr_out", ["base rate"]),
        ({"base_rate": "1/6"}, measured(), "mean_natural", "auroc", []),
        ({"auxiliary": ["tiny_images"]}, measured(("outliers",)), "mean_natural", "auroc", ["auxiliary"]),
        ({"auxiliary": ["random_images"]}, measured(("outliers",)), "mean_natural", "auroc", []),
        ({"auxiliary": ["tiny_images"]}, measured(), "mean_natural", "auroc", []),  # plain training uses none
        ({}, measured(precision="bf16"), "mean_natural", "auroc", ["precision"]),
        ({}, measured(precision="auto"), "mean_natural", "auroc", ["precision"]),
        ({"checkpoint": "best_test"}, measured(), "mean_natural", "auroc", ["checkpoint"]),
    ],
)
def test_each_kind_of_difference(setting, here, split, metric, kinds) -> None:
    found = Setting.model_validate({**SAME, **setting}).differences(here, split, metric)
    assert [one.kind for one in found] == kinds, texts(found)
    assert attached(found) == (not kinds)
    assert bool(major(found)) == bool(set(kinds) - {"checkpoint"})


@pytest.mark.parametrize(
    ("here", "split", "names"),
    [
        (measured(), "", ["cifar10"]),
        (measured(), "mean_natural", ["cifar10", "svhn"]),
        (measured(("outliers",)), "textures", ["cifar10", "random_images"]),
    ],
)
def test_substitutes_of_the_data_that_are_read(here, split, names) -> None:
    titles = {name: f"copy of {name}" for name in ("cifar10", "random_images", "svhn", "unused")}
    found = substituted(replace(here, substitutes=titles), split)
    assert [one.text for one in found] == [f"copy of {name} in place of {name}" for name in names]
    assert not attached(found)
    assert major(found) == found


def test_parts_of_the_data_are_listed() -> None:
    train = {"dataset": "cifar10", "split": "train", "limit": 49000}
    found = Setting.model_validate(SAME).differences(measured(train=train), "mean_natural", "auroc")
    assert texts(found) == "49,000 training images, published with all"
    assert attached(found)
    ood = {"svhn": {"dataset": "svhn", "split": "test", "limit": 1000, "shift": "far"}}
    found = Setting.model_validate({**SAME, "ood": ["svhn"]}).differences(measured(ood=ood, means={}), "svhn", "auroc")
    assert texts(found) == "the first 1,000 images of svhn, published with all"
    assert not attached(found)


@pytest.mark.parametrize("count", [10, 50])
def test_the_number_of_unknown_classes(count: int) -> None:
    ood = {"unknown": {"dataset": "cifar100", "split": "test", "shift": "near", "classes": list(range(10))}}
    setting = Setting.model_validate({**SAME, "ood": ["cifar100"], "outlier_classes": count})
    found = setting.differences(measured(ood=ood, means={}), "unknown", "auroc")
    assert texts(found) == ("" if count == 10 else "10 unknown classes, published with 50")


def test_a_mean_over_a_family_is_not_that_of_one_member() -> None:
    setting = Setting.model_validate({**SAME, "family": "plus_10"})
    family = measured(family="plus_10", member="split1")
    assert setting.differences(family, "mean_natural", "auroc") == []
    for here, words in (
        (replace(family, whole=False), "measured on a part of plus_10, published as mean of plus_10"),
        (measured(family="plus_50", member="split1"), "measured on plus_50, published as mean of plus_10"),
        (measured(), "measured on one benchmark, published as mean of plus_10"),
    ):
        assert texts(setting.differences(here, "mean_natural", "auroc")) == words


def test_the_closest_of_several_settings() -> None:
    settings = [Setting.model_validate({**SAME, **change}) for change in ({"dataset": "svhn", "backbone": {}}, {})]
    assert closest(settings, measured(), "mean_natural", "auroc") == []
    assert closest([], measured()) == []


FAMILIES = {name for suite in ("paper", "cifar10") for name in load_suite(suite, ROOT).families()}


def papers() -> list[Paper]:
    return load_papers(sorted((ROOT / "config" / "papers").glob("*.yaml")))


@pytest.mark.parametrize("paper", papers(), ids=lambda paper: paper.id)
def test_published_settings_name_known_data_sets_and_numbers(paper: Paper) -> None:
    """Data sets that cannot be had are listed here; a misspelt one would make every comparison impossible."""
    catalogue = load_catalogue([ROOT / "config" / "datasets.yaml"], {})
    elsewhere = {"imagenet", "imagenet32", "tiny_images_80m", "cub200", "domainnet"}
    settings = [*paper.settings.values(), *(setting for claim in paper.claims for setting in claim.where)]
    for setting in settings:
        assert setting.family in {"", *FAMILIES}, setting.family
        for name in (setting.dataset, *setting.ood, *setting.auxiliary):
            dataset, _, split = name.partition("/")
            assert dataset in catalogue or dataset in elsewhere, name
            assert not split or split in catalogue[dataset].splits, name
    used = {text for number in paper.published for text in (number.id, number.setting)}
    assert set(paper.settings) <= used


def test_means_over_other_sets_are_not_compared() -> None:
    """Each linked mean over OOD sets says over which: it is attached to no other mean."""
    for paper in papers():
        for number in paper.published:
            setting = paper.setting_of(number)
            if setting is not None and number.split.startswith("mean") and number.measured_by:
                assert setting.ood, f"{paper.id}/{number.id}"


@pytest.mark.parametrize("paper", load_papers(sorted((ROOT / "config" / "papers").glob("*.yaml"))), ids=lambda p: p.id)
def test_the_groups_of_the_suite_paper_have_the_published_sets(paper: Paper) -> None:
    """A group that a published mean names holds exactly its sets, at its base rate."""
    suite = load_suite("paper", ROOT)
    for text, setting in paper.settings.items():
        for name, record in suite.benchmarks.items():
            if setting.split not in record.means or record.train.dataset != setting.dataset:
                continue
            found = setting.differences(Measurement(record, setting.backbone, "fp32"), setting.split, "aupr_out")
            kinds = {"ood"} | ({"base rate"} if setting.base_rate else set())
            assert texts(one for one in found if one.kind in kinds) == "", f"{paper.id}: {text} on {name}"
