"""Check on simulated results with known truth whether the verdicts keep their level, for the sizes of `quick`.

    python benchmarks/calibration.py [--repetitions 2000] [--figure docs/calibration.svg]

For every setting: how often the 95 % interval of a difference covers the true one; how often a claim that is not true
(a difference of zero; two methods just as far apart as the margin of equivalence) is called supported; and, for a paper
with twelve claims none of which is true, how often any is called supported with Holm's correction and without. For
families of members that are very unlike: the coverage before and after intervals are cut to the possible range.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

from reprood.audit.decide import holm, judge, p_values, two_sided
from reprood.evaluate.bootstrap import Interval, contrast
from reprood.evaluate.resample import Replicates, Scores, replicate_detection, replicate_errors

REPLICATES = 200
CLAIMS = 12
MARGIN = {"error": 1.0, "auroc": 0.02, "family": 0.02}


def simulated_errors(
    chance: np.random.Generator, seeds: int, images: int, spread: float, gap: float, base: float = 0.12
) -> Interval:
    """Return the interval of the difference of two errors in percent; the true difference is `gap`.

    Every image has a difficulty that both methods share; every training moves all thresholds by `spread` points.
    """
    difficulty = chance.random(images)
    arms = []
    for extra in (gap / 100, 0.0):
        rate = base + extra + spread / 100 * chance.normal(size=(seeds, 1))
        own = chance.random((seeds, images))  # half of what decides is the training's own
        mixed = _uniform_of_mean(difficulty, own)
        arms.append(100.0 * (mixed < np.clip(rate, 0, 1)))
    return contrast(replicate_errors(arms, chance, REPLICATES), [1.0, -1.0], chance)


def _uniform_of_mean(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Combine two uniform numbers into one that depends on both and is uniform again."""
    mean = (first + second) / 2
    return np.asarray(np.where(mean < 0.5, 2 * mean**2, 1 - 2 * (1 - mean) ** 2))


def simulated_auroc(
    chance: np.random.Generator, seeds: int, images: int, spread: float, gap: float, base: float = 0.80
) -> Interval:
    """Return the interval of the difference of two AUROCs of normal scores, whose true values are known."""
    shared = {"id": chance.normal(size=images), "ood": chance.normal(size=images)}
    arms = []
    for extra in (gap, 0.0):
        runs = []
        for _ in range(seeds):
            value = np.clip(base + extra + spread / 100 * chance.normal(), 0.51, 0.995)
            shift = np.sqrt(2) * stats.norm.ppf(value)
            known, unknown = ((shared[k] + chance.normal(size=images)) / np.sqrt(2) for k in ("id", "ood"))
            runs.append(Scores(known + shift, {"set": unknown}))
        arms.append(runs)
    return contrast(replicate_detection(arms, "auroc", chance, REPLICATES), [1.0, -1.0], chance)


def simulated_family(chance: np.random.Generator, members: int, images: int, spread: float, gap: float) -> Interval:
    """Return the paired interval of the difference of two AUROCs over the members of a family, one training each.

    Members differ in difficulty by 5 points, and in what a method gains on them by `spread` points.
    """
    parts = []
    for _ in range(members):
        base = np.clip(0.80 + 0.05 * chance.normal(), 0.6, 0.9)
        gained = gap + spread / 100 * chance.normal()
        shared = {"id": chance.normal(size=images), "ood": chance.normal(size=images)}
        arms = []
        for extra in (gained, 0.0):
            shift = np.sqrt(2) * stats.norm.ppf(np.clip(base + extra, 0.51, 0.995))
            known, unknown = ((shared[k] + chance.normal(size=images)) / np.sqrt(2) for k in ("id", "ood"))
            arms.append([Scores(known + shift, {"set": unknown})])
        parts.append(replicate_detection(arms, "auroc", chance, REPLICATES))
    found = Replicates(
        [np.concatenate([part.observed[i] for part in parts]) for i in (0, 1)],
        [np.concatenate([part.resampled[i] for part in parts], axis=1) for i in (0, 1)],
        members * images,
        members * images,
    )
    return contrast(found, [1.0, -1.0], chance, trainings=["family", "family"])


SIMULATIONS: dict[str, Callable[..., Interval]] = {
    "error": simulated_errors,
    "auroc": simulated_auroc,
    "family": simulated_family,
}


def study(
    metric: str, seeds: int, images: int, spread: float, base: float | None, repetitions: int,
    chance: np.random.Generator,
) -> dict[str, float]:  # fmt: skip
    """Return the shares over the repetitions of one setting."""
    simulate, margin = SIMULATIONS[metric], MARGIN[metric]
    if base is not None:
        simulate = partial(simulate, base=base)
    better = "lower" if metric == "error" else "higher"
    zero = [simulate(chance, seeds, images, spread, 0.0) for _ in range(repetitions)]
    edge = [simulate(chance, seeds, images, spread, margin) for _ in range(repetitions)]
    p, strict = (
        [two_sided([p_values("difference", found, better, 0.0, corrected)]) for found in zero]
        for corrected in (False, True)
    )
    papers, corrected = (
        [values[i : i + CLAIMS] for i in range(0, repetitions - CLAIMS + 1, CLAIMS)] for values in (p, strict)
    )
    return {
        "coverage": float(np.mean([found.low <= 0 <= found.high for found in zero])),
        "coverage_gap": float(np.mean([found.low <= margin <= found.high for found in edge])),
        "false_difference": float(np.mean([judge("difference", found, better, 0.0) is True for found in zero])),
        "false_equivalence": float(np.mean([judge("equivalent", found, better, margin) is True for found in edge])),
        "any_uncorrected": float(np.mean([min(some) < 0.05 for some in papers])),
        "any_holm": float(np.mean([min(holm(some)) < 0.05 for some in corrected])),
    }


def wide_family(chance: np.random.Generator, members: int, images: int, repetitions: int) -> dict[str, float]:
    """Return coverage and share of intervals beyond the possible range for members that are very unlike.

    One method has an AUROC of 0.97 on every member; the other's is drawn between 0.05 and 0.95 for each member, so that
    the mean of three is between detecting and detecting backwards. The true difference is the mean over all members.
    """
    truth, hits, cut, beyond = 0.97 - 0.5, 0, 0, 0
    for _ in range(repetitions):
        parts = []
        for _ in range(members):
            arms = []
            for value in (0.97, chance.uniform(0.05, 0.95)):
                shift = np.sqrt(2) * stats.norm.ppf(value)
                arms.append([Scores(chance.normal(size=images) + shift, {"set": chance.normal(size=images)})])
            parts.append(replicate_detection(arms, "auroc", chance, 50))
        joined = Replicates(
            [np.concatenate([part.observed[i] for part in parts]) for i in (0, 1)],
            [np.concatenate([part.resampled[i] for part in parts], axis=1) for i in (0, 1)],
            members * images,
            members * images,
        )
        found = contrast(joined, [1.0, -1.0], chance, trainings=["family", "family"])
        inside = found.within(-1.0, 1.0)
        hits += found.low <= truth <= found.high
        cut += inside.low <= truth <= inside.high
        beyond += found.high > 1 or found.low < -1
    return {"coverage": hits / repetitions, "coverage_cut": cut / repetitions, "beyond": beyond / repetitions}


# metric, seeds, images per side, spread between trainings in points, and the value if near a limit
SETTINGS: list[tuple[str, int, int, float, float | None]] = [
    ("error", 3, 2000, 0.5, None), ("error", 3, 2000, 2.0, None), ("error", 3, 400, 1.0, None),
    ("error", 5, 2000, 1.0, None), ("auroc", 3, 800, 0.5, None), ("auroc", 3, 800, 3.0, None),
    ("auroc", 3, 300, 1.0, None), ("auroc", 5, 800, 2.0, None), ("family", 3, 300, 0.5, None),
    ("family", 3, 300, 3.0, None), ("family", 10, 300, 2.0, None), ("error", 3, 2000, 0.3, 0.01),
    ("auroc", 3, 300, 0.3, 0.97),
]  # fmt: skip


def draw(rows: list[tuple[str, dict[str, float]]], path: Path) -> None:
    """Draw coverage and false claims by setting, with their nominal values."""
    from reprood.report.style import new_figure, save

    figure = new_figure(9.6, 3.8)
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(rows))
    for axis, names, nominal in (
        (left, ("coverage", "coverage_gap"), 95.0),
        (right, ("false_difference", "false_equivalence", "any_uncorrected", "any_holm"), 5.0),
    ):
        for k, name in enumerate(names):
            values = [100 * row[name] for _, row in rows]
            axis.plot(values, places + 0.12 * (k - len(names) / 2), "o", ms=4, label=name.replace("_", " "))
        axis.axvline(nominal, color="#888888", lw=0.8, ls="--")
        axis.tick_params(labelsize=7)
        axis.set_yticks(places, [name for name, _ in rows])
        axis.legend(fontsize=6, loc="best")
    left.set(xlim=(80, 100))
    left.set_xlabel("coverage of the 95 % interval, %", fontsize=7)
    right.set(xlim=(-1, 52))
    right.set_xlabel("untrue claims that are decided, %", fontsize=7)
    left.invert_yaxis()
    save(figure, path, path.with_suffix(".png"))


def main() -> None:
    """Print one line a setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--figure", type=Path, default=None)
    options = parser.parse_args()
    begun, rows = time.monotonic(), []
    print(f"{'setting':60s} coverage  (gap)  false diff.  false equiv.  any of 12   with Holm")
    for place, (metric, seeds, images, spread, base) in enumerate(SETTINGS):
        found = study(metric, seeds, images, spread, base, options.repetitions, np.random.default_rng(place))
        what, of = ("auroc of a family", "members") if metric == "family" else (metric, "seeds")
        name = f"{what}, {seeds} {of}, {images} images, spread {spread:g}"
        name += f", around {base:g}" if base is not None else ""
        rows.append((name, found))
        percent = [100 * value for value in found.values()]
        print(
            f"{name:60s} {percent[0]:7.1f} {percent[1]:7.1f} {percent[2]:10.2f} {percent[3]:13.2f} {percent[4]:11.1f} "
            f"{percent[5]:10.1f}"
        )
    for members in (3, 5, 10):
        shares = wide_family(np.random.default_rng(members), members, 300, options.repetitions)
        print(
            f"unlike members, {members}: coverage {100 * shares['coverage']:.1f}, cut to the possible range "
            f"{100 * shares['coverage_cut']:.1f}; {100 * shares['beyond']:.1f} % of the intervals reach beyond it"
        )
    print(f"{options.repetitions} repetitions each, {time.monotonic() - begun:.0f} s")
    if options.figure:
        draw(rows, options.figure)


if __name__ == "__main__":
    main()
