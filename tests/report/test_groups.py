"""Who shares a letter: against hand-worked cases, as a property of any pattern, and against known truths."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reprood.evaluate.bootstrap import Interval, contrast
from reprood.evaluate.resample import Replicates, Scores, replicate_detection
from reprood.report.groups import detectable, differing, gaps, grouped, groups_of, letters_of, names_of


def pattern(n, pairs):
    different = np.zeros((n, n), dtype=bool)
    for i, j in pairs:
        different[i, j] = different[j, i] = True
    return different


@pytest.mark.parametrize(
    ("n", "pairs", "letters"),
    [
        (3, [], ["a", "a", "a"]),
        (3, [(0, 1), (0, 2), (1, 2)], ["a", "b", "c"]),
        (3, [(0, 2)], ["a", "ab", "b"]),
        (4, [(0, 2), (0, 3), (1, 3)], ["a", "ab", "bc", "c"]),
        # the noisy second row does not differ from any, its neighbours do
        (4, [(0, 2), (0, 3), (2, 3)], ["a", "abc", "b", "c"]),
        # not an interval of ranks: the first and the last, but not the one between them
        (3, [(0, 1), (1, 2)], ["a", "b", "a"]),
        # Piepho (2004), a case that insertion alone answers with a superfluous letter: pairs 0-1 and 2-3 differ
        (4, [(0, 1), (2, 3)], ["ab", "cd", "ac", "bd"]),
        (1, [], ["a"]),
    ],
)
def test_letters_of_hand_worked_cases(n, pairs, letters):
    found = letters_of(groups_of(pattern(n, pairs)), n)
    assert found == letters


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_two_rows_share_a_letter_exactly_when_they_do_not_differ(case):
    n, pairs = case
    different = pattern(n, [(i, j) for i, j in pairs if i != j])
    groups = groups_of(different)
    letters = letters_of(groups, n)
    assert all(letters)
    for i in range(n):
        for j in range(i):
            assert bool(set(letters[i]) & set(letters[j])) == (not different[i, j])
    for group in groups:  # nothing can be left out, and nobody is missing
        assert not any(set(group) < set(other) for other in groups)
        outside = [row for row in range(n) if row not in group]
        assert all(different[row, list(group)].any() for row in outside)


def test_names_of_many_groups_stay_apart():
    assert names_of(26)[-1] == "z"
    assert names_of(27)[25:] == ["26", "27"]
    groups = [(0, i) for i in range(1, 30)]
    letters = letters_of(groups, 30)
    assert letters[0].split() == [str(i) for i in range(1, 30)]
    assert letters[12] == "12"


def made(mean, seeds=3, between=0.0, within=0.01, generator=None, common=0.0):
    """Replicates with a known standard error: seeds scatter by `between`, resamplings by `within`."""
    generator = generator or np.random.default_rng(0)
    observed = mean + between * generator.standard_normal(seeds)
    resampled = observed + within * generator.standard_normal((200, 1)) + common
    return Replicates([observed], [resampled], 1000, 1000)


def test_known_truth_is_told():
    shared = 0.05 * np.random.default_rng(1).standard_normal((200, 1))
    rows = [made(m, generator=np.random.default_rng(5 + i), common=shared) for i, m in enumerate((0.9, 0.899, 0.7))]
    found = grouped(rows)
    assert found.letters == ("a", "a", "b")
    assert found.pairs == 3
    # what all methods share (hard images) does not blur differences: each alone is uncertain by 0.05
    assert np.std(rows[0].resampled[0].mean(axis=1)) > 0.04
    seeds = np.array([-0.2, 0.0, 0.2])  # the same means with trainings that differ
    noisy = [Replicates([row.observed[0] + seeds], [row.resampled[0] + seeds], 1000, 1000) for row in rows]
    assert grouped(noisy).letters == ("a", "a", "a")


def test_equal_rows_are_never_told_apart():
    one = made(0.8)
    assert grouped([one] * 4).letters == ("a",) * 4
    exact = Replicates([np.zeros(3)], [np.zeros((200, 3))], 10, 10)  # no error anywhere, and no variance
    other = Replicates([np.ones(3)], [np.ones((200, 3))], 10, 10)
    assert grouped([exact, exact, other]).letters == ("a", "a", "b")


def test_too_few_seeds_are_not_grouped():
    rows = [made(0.9), made(0.5, seeds=2), made(0.7, generator=np.random.default_rng(3))]
    found = grouped(rows)
    assert found.letters == ("a", "", "b")
    assert found.groups == ((0,), (2,))
    assert found.pairs == 1
    assert grouped([made(0.9, seeds=1), made(0.1, seeds=1)]).letters == ("", "")
    assert grouped([made(0.9), made(0.1, seeds=1)]).pairs == 0


def test_holm_is_over_all_pairs():
    """Ten rows of one truth and one further off, whose difference from each is significant alone but not among 55."""
    rows = [made(0.8, generator=np.random.default_rng(100 + i)) for i in range(10)]
    rows.append(made(0.8 + 3.2 * 0.01 * np.sqrt(2), generator=np.random.default_rng(99)))
    assert differing([rows[0], rows[-1]])[0, 1]
    assert not differing(rows)[0, -1]


def test_family_wise_errors_stay_rare():
    """Six methods of one truth: at most about one of twenty leaderboards separates any two."""
    wrong = 0
    for trial in range(120):
        rng = np.random.default_rng([11, trial])
        rows = [made(0.8, between=0.02, within=0.005, generator=rng) for _ in range(6)]
        wrong += bool(differing(rows).any())
    assert wrong <= 14  # P < 0.002 at 5 %


def test_stored_replicates_pair_up_as_drawing_both_together_does():
    rng = np.random.default_rng(4)
    arms = [
        [Scores(rng.normal(1, 1, 80), {"x": rng.normal(0, 1, 60), "y": rng.normal(0.2, 1, 50)}) for _ in range(3)]
        for _ in range(2)
    ]
    generator = np.random.default_rng(0)
    together = contrast(replicate_detection(arms, "auroc", generator, 50), [1.0, -1.0])
    apart = [replicate_detection([arm], "auroc", np.random.default_rng(0), 50) for arm in arms]
    both = Replicates([a.observed[0] for a in apart], [a.resampled[0] for a in apart], 80, 110)
    assert contrast(both, [1.0, -1.0]) == together


def test_a_test_finds_the_detectable_difference_four_times_in_five():
    """Paired t tests on five replicates whose true difference is the detectable one, from the true variance."""
    rng = np.random.default_rng(3)
    replicates = 5
    error = 1.0 / np.sqrt(replicates)
    gap = Interval(0.0, -1.0, 1.0, 0.95, error, replicates, 10, 10, freedom=replicates - 1)
    differences = rng.normal(detectable(gap), 1.0, size=(4000, replicates))
    found = stats.ttest_1samp(differences, 0.0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.03)


def test_the_detectable_difference_of_a_board_is_the_median_of_its_pairs():
    rows = [made(0.9), made(0.8), made(0.1)]
    pairs = [gap for gap in gaps(rows) if gap is not None]
    assert grouped(rows).detectable == pytest.approx(np.median([detectable(gap) for gap in pairs]))
    assert np.isnan(grouped([made(0.9), made(0.1, seeds=1)]).detectable)
