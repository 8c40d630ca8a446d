"""Bootstrap: equal to the naive one, paired, with the stated coverage and DeLong's variance."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from reprood.core.errors import ReproodError
from reprood.evaluate import resample
from reprood.evaluate.bootstrap import Interval, contrast, half_width
from reprood.evaluate.metrics import METRICS, detection_metrics
from reprood.evaluate.resample import (
    Replicates,
    Scores,
    draw_counts,
    replicate_detection,
    replicate_errors,
    replicate_metrics,
)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def interval(*arms: list[Scores], metric: str = "auroc", rng: np.random.Generator | None = None,
             replicates: int = 1000) -> Interval:  # fmt: skip
    """Of one method's metric, or of the difference of two."""
    rng = rng or generator()
    return contrast(replicate_detection(arms, metric, rng, replicates), [1.0, -1.0][: len(arms)])


def of_errors(*arms: np.ndarray, replicates: int = 1000) -> Interval:
    rng = generator()
    return contrast(replicate_errors(arms, rng, replicates), [1.0, -1.0][: len(arms)])


def runs(seeds: int, shift: float, *, seed: int = 0, n: int = 60, decimals: int = 6) -> list[Scores]:
    rng = generator(seed)
    return [
        Scores(
            rng.normal(shift, 1, n).round(decimals),
            {"near": rng.normal(0, 1, 50).round(decimals), "far": rng.normal(-1, 1, 40).round(decimals)},
        )
        for _ in range(seeds)
    ]


@pytest.mark.parametrize("decimals", [6, 1, 0])
def test_equals_the_naive_bootstrap_with_the_same_indices(decimals: int) -> None:
    """Exactly for the metrics that are ratios of counts; the sums of quotients may differ in the last bit."""
    rng = generator(3)
    inside, outside = rng.normal(1, 1, 70).round(decimals), rng.normal(0, 1, 50).round(decimals)
    arm = [Scores(inside, {"a": outside})]
    found = {name: replicate_detection([arm], name, generator(7), 200).resampled[0][:, 0] for name in METRICS}
    streams = generator(7).spawn(2)
    indices = [stream.integers(0, size, size=(200, size)) for stream, size in zip(streams, (70, 50), strict=True)]
    for b in range(200):
        expected = detection_metrics(inside[indices[0][b]], outside[indices[1][b]])
        for name, value in expected.items():
            if name.startswith("aupr"):
                assert found[name][b] == pytest.approx(value, abs=1e-14)
            else:
                assert found[name][b] == value, name
        assert expected["auroc"] == pytest.approx(
            roc_auc_score([1] * 70 + [0] * 50, np.r_[inside[indices[0][b]], outside[indices[1][b]]]), abs=1e-13
        )


def test_draws_are_counts_and_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = draw_counts(generator(), 30, 400)
    assert counts.shape == (400, 30)
    assert (counts.sum(axis=1) == 30).all()
    assert counts.mean() == 1.0
    assert counts.var() == pytest.approx(29 / 30, rel=0.05)
    first = replicate_detection([runs(2, 1.0)], "auroc", generator(1), 50).resampled[0]
    monkeypatch.setattr(resample, "_CELLS", 130)
    second = replicate_detection([runs(2, 1.0)], "auroc", generator(1), 50).resampled[0]
    assert (first == second).all()


def test_methods_and_seeds_share_their_draws() -> None:
    """The same method twice differs by nothing in every replicate, so its difference has no width."""
    found = replicate_detection([runs(1, 1.0), runs(1, 1.0)], "fpr95_id_positive", generator(), 100)
    assert (found.resampled[0] == found.resampled[1]).all()
    same = interval(runs(1, 1.0), runs(1, 1.0), replicates=50)
    assert (same.estimate, same.low, same.high) == (0.0, 0.0, 0.0)
    errors = (generator().random((2, 100)) < 0.3).astype(float)
    found = replicate_errors([errors, errors], generator(), 50)
    assert (found.resampled[0] == found.resampled[1]).all()


def test_pairing_narrows_a_difference() -> None:
    rng = generator(5)
    base = rng.normal(1, 1, 400), rng.normal(0, 1, 400)

    def noisy() -> list[Scores]:
        return [Scores(base[0] + rng.normal(0, 0.1, 400), {"a": base[1] + rng.normal(0, 0.1, 400)})]

    first, second = noisy(), noisy()
    paired = interval(first, second).standard_error
    alone = [interval(run).standard_error for run in (first, second)]
    assert paired < 0.3 * np.hypot(*alone)


def test_estimate_is_the_mean_over_sets_and_seeds() -> None:
    first, second = runs(3, 1.5, seed=1), runs(2, 0.5, seed=2)

    def mean(arm: list[Scores], metric: str) -> float:
        return float(
            np.mean([[detection_metrics(r.in_distribution, o)[metric] for o in r.outliers.values()] for r in arm])
        )

    for metric in METRICS:
        found = interval(first, second, metric=metric, replicates=20)
        assert found.estimate == pytest.approx(mean(first, metric) - mean(second, metric), abs=1e-14)
        assert (found.n_seeds, found.n_id, found.n_ood) == (2, 60, 90)
        assert found.low <= found.estimate <= found.high


def test_same_generator_same_interval() -> None:
    def once(seed: int) -> Interval:
        arms = [[one] for one in runs(2, 1.0)]  # with one seed, only the samples vary
        return interval(*arms, rng=generator(seed), replicates=60)

    assert once(1) == once(1)
    assert once(1) != once(2)


def test_without_sampling_noise_the_variance_is_that_between_seeds() -> None:
    errors = np.repeat([[10.0], [12.0], [17.0]], 40, axis=1)
    found = contrast(replicate_errors([errors], generator(), 500), [1.0])
    assert found.standard_error**2 == pytest.approx(np.var([10, 12, 17], ddof=1) / 3)
    assert found.freedom == 2


def test_what_samples_do_to_single_seeds_is_counted_once() -> None:
    """x[b, s] = common part (variance 4) + own part of each seed (variance 9); five seeds that agree otherwise."""
    rng = generator(2)
    resampled = 2 * rng.normal(size=(40_000, 1)) + 3 * rng.normal(size=(40_000, 5))
    found = contrast(Replicates([np.zeros(5)], [resampled], 10**6, 0), [1.0])
    assert found.standard_error**2 == pytest.approx(4.0, rel=0.03)
    alone = contrast(Replicates([np.zeros(5)], [resampled - resampled.mean(axis=1, keepdims=True)], 10**6, 0), [1.0])
    assert alone.standard_error == 0
    apart = contrast(Replicates([np.zeros(5)], [resampled], 10**6, 0, pooled=True), [1.0])
    assert apart.standard_error**2 == pytest.approx(13.0, rel=0.03), "the upper bound where test sets overlap in part"
    single = contrast(Replicates([np.zeros(1)], [resampled[:, :1]], 10**6, 0), [1.0])
    assert single.standard_error**2 == pytest.approx(13.0, rel=0.03), "with one seed everything counts, as before"


def test_paired_and_welch_intervals_are_those_of_scipy() -> None:
    first, second = np.array([3.0, 5.0, 4.0, 7.0]), np.array([2.0, 3.0, 1.0, 5.5])
    found = Replicates([first, second], [np.tile(first, (2, 1)), np.tile(second, (2, 1))], 10, 0)
    paired, apart = contrast(found, [1, -1], trainings=("a", "a")), contrast(found, [1, -1])
    for ours, theirs in (
        (paired, stats.ttest_rel(first, second)),
        (apart, stats.ttest_ind(first, second, equal_var=False)),
    ):
        wanted = theirs.confidence_interval()
        assert (ours.low, ours.high) == pytest.approx((wanted.low, wanted.high))
        assert 2 * min(ours.above(0), ours.below(0)) == pytest.approx(theirs.pvalue)


def test_several_metrics_from_one_counting_are_those_of_single_ones() -> None:
    arms = [runs(2, 1.0), runs(2, 0.5, seed=1)]
    found = replicate_metrics(arms, list(METRICS), generator(7), 30)
    for metric in METRICS:
        for name in ("near", "far"):
            single = replicate_detection(arms, metric, generator(7), 30, sets=[[name], [name]])
            for one, other in zip(found[name][metric].resampled, single.resampled, strict=True):
                np.testing.assert_array_equal(one, other)
            np.testing.assert_array_equal(found[name][metric].observed, single.observed)


def test_replicates_that_share_a_unit_are_averaged_first() -> None:
    values, units = np.array([1.0, 10.0, 3.0, 14.0, 20.0]), (4, 7, 4, 7, 9)
    found = Replicates([values], [np.tile(values, (2, 1))], 300, 0, units)
    together = contrast(found, [1.0])
    means = np.array([2.0, 12.0, 20.0])
    assert (together.estimate, together.freedom, together.n_seeds) == (pytest.approx(means.mean()), 2, 3)
    assert together.standard_error == pytest.approx(means.std(ddof=1) / np.sqrt(3))
    some = found.chosen([0, 2, 1])
    assert (some.observed[0].tolist(), some.units, some.n_id) == ([1.0, 3.0, 10.0], (4, 4, 7), 200)


def test_scores_of_the_same_trainings_are_paired_over_seeds() -> None:
    """Two detectors that differ by the same amount on every network: the networks' differences cancel."""
    skill = np.repeat([[10.0], [12.0], [17.0]], 40, axis=1)
    found = replicate_errors([skill + 1, skill], generator(), 50)
    paired = contrast(found, [1.0, -1.0], trainings=("erm", "erm"))
    assert (paired.estimate, paired.standard_error, paired.low, paired.high) == (1.0, 0.0, 1.0, 1.0)
    apart = contrast(found, [1.0, -1.0])
    assert apart.standard_error == pytest.approx(np.sqrt(2 * np.var([10, 12, 17], ddof=1) / 3))
    with pytest.raises(ReproodError, match="3 and 2 seeds"):
        contrast(replicate_errors([skill, skill[:2]], generator(), 5), [1, -1], trainings=("a", "a"))


def simulate(rng: np.random.Generator, seeds: int, between: float, n: int) -> list[Scores]:
    """Seeds differ in skill (sd `between`) and see the same samples, whose difficulty they share in part."""
    easy, hard = rng.normal(0, 0.8, n), rng.normal(0, 0.8, n)
    found = []
    for _ in range(seeds):
        skill = 1.0 + between * rng.normal()
        found.append(Scores(skill + easy + rng.normal(0, 0.6, n), {"a": hard + rng.normal(0, 0.6, n)}))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "between", "least", "most"),
    [(1, 0.0, 0.92, 0.98), (3, 0.0, 0.94, 0.995), (3, 0.3, 0.94, 0.995), (5, 0.3, 0.94, 0.99), (10, 0.3, 0.94, 0.98)],
)
def test_coverage(seeds: int, between: float, least: float, most: float) -> None:
    """Share of 95 % intervals of AUROC that hold the true mean over seeds; 300 trials, so +- 1.3 points."""
    spread = np.sqrt(2.0)
    skills = 1.0 + between * generator(99).normal(size=200_000)
    truth = float(stats.norm.cdf(skills / spread).mean())
    hits, trials = 0, 300
    for trial in range(trials):
        rng = generator(1000 + trial)
        found = interval(simulate(rng, seeds, between, 80), rng=rng, replicates=200)
        hits += found.low <= truth <= found.high
    assert least <= hits / trials <= most, hits / trials


def test_classification_differences_are_paired() -> None:
    rng = generator(8)
    hard = rng.random(500) < 0.2
    first = np.array([hard | (rng.random(500) < 0.02) for _ in range(3)])
    second = np.array([hard | (rng.random(500) < 0.01) for _ in range(3)])
    found = of_errors(first, second)
    alone = of_errors(first)
    assert found.estimate == pytest.approx(first.mean() - second.mean())
    assert found.standard_error < 0.5 * alone.standard_error
    # The sampling part of one seed is the binomial's.
    single = of_errors(first[0], replicates=4000)
    assert single.standard_error == pytest.approx(np.sqrt(first[0].var() / 500), rel=0.05)


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        ([], "without runs"),
        ([[]], "without runs"),
        ([[Scores(np.ones(3), {})]], "no OOD set"),
        ([runs(1, 1.0), runs(1, 1.0, n=61)], "same test samples"),
        ([runs(1, 1.0), [Scores(np.ones(60), {"near": np.ones(50)})]], "same test samples"),
    ],
)
def test_refuses(arms: list[list[Scores]], words: str) -> None:
    with pytest.raises(ReproodError, match=words):
        replicate_detection(arms, "auroc", generator(), 10)


def test_refuses_unknown_metrics_and_wrong_weights() -> None:
    with pytest.raises(ReproodError, match="no detection metric 'auc'"):
        replicate_detection([runs(1, 1.0)], "auc", generator(), 10)
    found = replicate_detection([runs(1, 1.0)], "auroc", generator(), 10)
    with pytest.raises(ReproodError, match="weights"):
        contrast(found, [1.0, -1.0])
    with pytest.raises(ReproodError, match="same test samples"):
        replicate_errors([np.ones((1, 5)), np.ones((1, 6))], generator(), 10)


def test_variance_agrees_with_delongs() -> None:
    """The bootstrap's covariance of two AUROC on the same samples, against the analytic one (DeLong et al. 1988)."""
    rng = generator(11)
    inside, outside = rng.normal(0.8, 1, (2, 600)).round(1), rng.normal(0, 1, (2, 400)).round(1)
    inside[1] += inside[0]
    outside[1] += outside[0]
    wins = (inside[:, :, None] > outside[:, None]) + 0.5 * (inside[:, :, None] == outside[:, None])
    expected = np.cov(wins.mean(axis=2)) / 600 + np.cov(wins.mean(axis=1)) / 400
    arms = [[Scores(inside[m], {"a": outside[m]})] for m in range(2)]
    found = replicate_detection(arms, "auroc", generator(), 3000)
    np.testing.assert_allclose(np.cov(*(table[:, 0] for table in found.resampled)), expected, rtol=0.12)
    truth = np.r_[np.ones(600), np.zeros(400)]
    for m in range(2):
        assert found.observed[m][0] == pytest.approx(roc_auc_score(truth, np.r_[inside[m], outside[m]]), abs=1e-12)


def test_memory_of_large_samples() -> None:
    """Replicates of 100,000 scores are computed in blocks; at once they would take 16 MB per array of counts."""
    rng = generator()
    arm = [Scores(rng.normal(1, 1, 50_000), {"a": rng.normal(0, 1, 50_000)})]
    tracemalloc.start()
    replicate_detection([arm], "auroc", generator(), 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6


def test_trainings_and_images_keep_their_degrees_of_freedom() -> None:
    rng = generator(3)
    first, second = (rng.random((3, 400)) < rate for rate in (0.3, 0.2))
    found = of_errors(first, second)
    assert found.freedom <= 4
    assert found.sample_freedom == 399
    assert found.sample_error < found.standard_error
    trainings = np.sqrt(found.standard_error**2 - found.sample_error**2)
    for p in (found.above(0.0), found.below(1.0)):
        gap = found.estimate if p == found.above(0.0) else 1 - found.estimate
        width = np.hypot(trainings * stats.t.isf(p, found.freedom), found.sample_error * stats.t.isf(p, 399))
        assert width == pytest.approx(gap)
    assert found.below(found.low) == pytest.approx(0.975)
    assert found.above(found.low) == pytest.approx(0.025)
    assert found.above(found.estimate) == pytest.approx(0.5)
    alone = of_errors(first[:1])
    assert alone.sample_error == alone.standard_error
    assert alone.above(0.25) == pytest.approx(stats.t.sf((alone.estimate - 0.25) / alone.standard_error, 399))


@pytest.mark.parametrize("images", [0.0, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("level", [0.95, 0.995])
def test_coverage_of_two_sources(images: float, level: float) -> None:
    """Five trainings and 80 images, whose part of the variance is `images` times that of the trainings."""
    rng, trials, freedom, others = generator(1), 100_000, 4, 79
    trainings = np.sqrt(rng.chisquare(freedom, trials) / freedom)
    samples = np.sqrt(images * rng.chisquare(others, trials) / others)
    misses = np.abs(rng.normal(0, np.sqrt(1 + images), trials)) > half_width(
        trainings, freedom, samples, others, (1 - level) / 2
    )
    assert 0.2 * (1 - level) < misses.mean() < 1.02 * (1 - level) + 0.0007
