"""The two sides of a claim of CutMix, Generalized ODIN, ReSmooth or CnC are trained by the same recipe."""

from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from reprood.audit.papers import load_papers
from reprood.config.load import load_suite
from reprood.config.suite import Suite
from reprood.pipeline.definitions import run_settings
from reprood.train.run import parse_config

ROOT = Path(__file__).parents[2]
PAPERS = ("cutmix", "godin", "resmooth", "cnc")
SUITES = ("evidence", "cifar10", "paper")
Recipe = dict[str, Any]


@cache
def suite_of(name: str) -> Suite:
    return load_suite(name, ROOT)


@cache
def recipes(suite: str, paper: str) -> dict[tuple[str, str, str], tuple[Recipe, Recipe]]:
    """Return training settings and network of both sides of claims that declare no difference in them."""
    record = suite_of(suite)
    (papers,) = load_papers([ROOT / "config" / "papers" / f"{paper}.yaml"])
    ran: dict[str, list[str]] = {}
    for benchmark, method, _ in record.jobs():
        ran.setdefault(benchmark, []).append(method)

    @cache
    def recipe(benchmark: str, method: str) -> Recipe:
        settings = run_settings(record, benchmark, method)
        config = parse_config({**settings, "benchmark": benchmark, "method": method}).model_dump()
        phases = {phase: dict(config.get(phase) or {}) for phase in ("training", "pretraining")}
        for values in phases.values():
            values.pop("smallest_batch", None)  # a last batch of one image cannot be normalised by some methods
        return {**phases, "backbone": settings["backbone"], "precision": settings["precision"]}

    pairs = {}
    for claim in papers.claims:
        if {name.split(".")[0] for name in claim.differs} & {"training", "pretraining", "backbone"}:
            continue  # declared, and listed by `reprood check`
        for benchmark, methods in ran.items():
            sides = [papers.method_of(side.method, methods) for side in claim.sides] if not claim.study else []
            for first, second in combinations([side for side in sides if side is not None], 2):
                pairs[benchmark, first, second] = recipe(benchmark, first), recipe(benchmark, second)
    return pairs


@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("suite", SUITES)
def test_both_sides_of_a_claim_have_one_recipe(suite: str, paper: str) -> None:
    pairs = recipes(suite, paper)
    assert pairs
    for names, (first, second) in pairs.items():
        assert first == second, names


def test_the_plain_classifier_of_cnc_has_the_recipe_of_its_network() -> None:
    """scripts/cifar10.sh: 300 epochs and 1e-4 for DenseNet, 200 epochs and 5e-4 for ResNet-34."""
    pairs = recipes("paper", "cnc")
    for network, epochs, decay in (("densenet", 300, 1e-4), ("resnet34", 200, 5e-4)):
        training = pairs[f"cifar10_{network}_cnc", "cnc", "erm_cnc"][1]["training"]
        assert (training["epochs"], training["weight_decay"]) == (epochs, decay)
        assert (training["schedule"], training["milestones"]) == ("multistep", (0.5, 0.75))


@pytest.mark.parametrize(
    ("suite", "prefixes"),
    [
        ("cifar10", ("cifar10_cutmix", "cifar10_godin", "cifar10_cnc", "cifar10_resmooth", "tiny_imagenet_objects")),
        ("paper", ("cifar100_pyramid", "cifar10_pyramid", "cifar10_densenet", "cifar100_densenet",
                   "cifar10_resnet34_cnc", "cifar10_resnet18_resmooth", "cifar100_resnet18_resmooth",
                   "cifar10_wide_resmooth", "cifar100_wide_resmooth")),
    ],
)  # fmt: skip
def test_all_training_images_are_used_and_validation_is_held_out_of_the_test_set(
    suite: str, prefixes: tuple[str, ...]
) -> None:
    """The authors train on all images; what chooses ODIN's step is held out of the official test set."""
    record = suite_of(suite)
    for prefix in prefixes:
        benchmarks = [benchmark for name, benchmark in record.benchmarks.items() if name.startswith(prefix)]
        assert benchmarks, prefix
        for benchmark in benchmarks:
            validation, test = benchmark.validation, benchmark.test
            assert (benchmark.train.skip, benchmark.train.limit) == (0, None), prefix
            assert (validation.dataset, validation.split) == (test.dataset, test.split), prefix
            assert test.limit == validation.skip == 9000, prefix
            assert (test.skip, validation.limit) == (0, None), prefix


@pytest.mark.parametrize(
    ("suite", "benchmark"), [("cifar10", "cifar10_resmooth"), ("paper", "cifar10_resnet18_resmooth")]
)
def test_subsets_are_compared_by_plain_cross_entropy(suite: str, benchmark: str) -> None:
    record = suite_of(suite)
    ran = {method for name, method, _ in record.jobs() if name == benchmark}
    for subset in ("id", "ood", "mixed"):
        method = f"resmooth_{subset}"
        settings = run_settings(record, benchmark, method)
        config = parse_config({**settings, "benchmark": benchmark, "method": method})
        assert method in ran
        assert (config.subset, config.smoothing, config.weak_smoothing) == (subset, 0, 0)
        assert settings["backbone"]["init"] == "fan_out"
