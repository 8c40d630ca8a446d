"""Check on simulated results with known truth how often papers get a false verdict, and how often effects are found.

    python benchmarks/calibration.py [--papers 2000] [--effects 100] [--design NAME ...]

A paper has six main claims, whose first sides are compared with one baseline at looks of 5, 10, 20 and 40 replicates.
The decision is the audit's own: intervals, p values over looks, Holm's correction, "smaller than relevant", the gate
and giving up. A verdict is false if it says what the truth is not: supported without an effect, contradicted with an
effect as claimed (or none), smaller than relevant with a relevant effect. First no claim is true; then three of six
have an effect of one standard deviation of a one-replicate difference, and its share that is decided is the power.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reprood.audit.claims import Claim
from reprood.audit.comparisons import Piece
from reprood.audit.looks import Judged, correct, given_up, judge_at
from reprood.audit.papers import Paper
from reprood.audit.parts import Part
from reprood.audit.regime import Regime, unrepresentative
from reprood.config.benchmark import Gate
from reprood.config.looks import Looks
from reprood.evaluate.metrics import Floats
from reprood.evaluate.resample import Replicates

LOOKS = Looks(looks=(5, 10, 20, 40), weights=(0.1, 0.2, 0.3, 0.4), futility=0.2)
IMAGES = 0.1  # error of the images of one class, where a replicate has a spread of 0.9
MOST, CLAIMS, RESAMPLED = LOOKS.looks[-1], 6, 50
SIDES = [{"method": "ours", "score": "s"}, {"method": "baseline", "score": "s"}]
RECORD = {
    "id": "c",
    "statement": "S.",
    "kind": "difference",
    "metric": "auroc",
    "split": "mean_all",
    "better": "higher",
}
CLAIM = Claim.model_validate({**RECORD, "sides": SIDES})
PAPER = Paper.model_validate(
    {
        "id": "p", "title": "T", "authors": "A", "venue": "V", "year": 2020, "summary": "S", "method": "M",
        "arms": {"ours": {"means": "ours"}, "baseline": {"means": "baseline"}}, "claims": [{**RECORD, "sides": SIDES}],
    }
)  # fmt: skip
PARTS = (Part("ours", "s"), Part("baseline", "s"))
Draw = Callable[[np.random.Generator], Floats]


@dataclass(frozen=True)
class Design:
    """How the results of a paper come about.

    Attributes
    ----------
    name : str
    draw : callable
        generator -> values [arms, replicates]: six arms without effect, then the baseline.
    paired : bool
        By replicate, or Welch's test.
    units : int
        Replicate r runs on unit r mod `units`; 0: each on its own.
    samples : float
        Standard deviation of what the test images, common to all replicates, do to a difference.
    overlap : float
        Standard deviation of what the test images do to one replicate of one arm, where test sets overlap.
    relevant : float
        Relevant effect; 0: none.
    effects : tuple of float
        True effects of the six claims when "no claim is true" is not wanted.
    gate : bool
        The baseline's mean is at the lower end of the gate, its spread 5 points of AUROC.
    adaptive : bool
        A claim gets no more replicates once it is decided or given up.
    """

    name: str
    draw: Draw
    paired: bool = True
    units: int = 0
    samples: float = 0.0
    overlap: float = 0.0
    relevant: float = 0.0
    effects: tuple[float, ...] = (0.0,) * CLAIMS
    gate: bool = False
    adaptive: bool = False


def normal(spread: float = 1.0, shared: float = 0.5) -> Draw:
    """Draw normal values; replicates share a part of their variance, and the baseline's own part has another spread."""

    def draw(chance: np.random.Generator) -> Floats:
        own = chance.normal(size=(CLAIMS + 1, MOST)) * np.sqrt(1 - shared)
        own[-1] *= spread
        return np.asarray(own + np.sqrt(shared) * chance.normal(size=MOST))

    return draw


def transformed(form: Callable[[np.random.Generator, Floats], Floats]) -> Draw:
    """Draw values of another form for every arm, with mean 0 and about unit variance."""
    return lambda chance: form(chance, chance.normal(size=(CLAIMS + 1, MOST)))


def bimodal(chance: np.random.Generator, normal: Floats) -> Floats:
    """Return 70 % of values in one mode, 30 % in another, four spreads apart."""
    low = chance.random(normal.shape) < 0.3
    return np.asarray((normal - 4 * low + 1.2) / np.sqrt(1 + 16 * 0.21))


def collapse(chance: np.random.Generator, normal: Floats) -> Floats:
    """Return one value in ten four spreads lower."""
    low = chance.random(normal.shape) < 0.1
    return np.asarray((normal - 4 * low + 0.4) / np.sqrt(1 + 16 * 0.09))


def skewed(chance: np.random.Generator, normal: Floats) -> Floats:
    """Return exponential values."""
    return chance.exponential(size=normal.shape) - 1


def splits(chance: np.random.Generator) -> Floats:
    """Draw random splits of ten classes into six known and four unknown ones, whose effects the arms have.

    The truth is the mean over all 210 splits. Test images are shared: those of each class add an error of their own,
    common to all replicates that have the class.
    """
    arms = CLAIMS + 1
    known, unknown = (chance.normal(size=(arms, 10, 1)) * 1.5 for _ in range(2))
    known, unknown = (values - values.mean(axis=1, keepdims=True) for values in (known, unknown))
    images = IMAGES * chance.normal(size=(arms, 10, 1))
    inside = np.argsort(chance.random((10, MOST)), axis=0) < 6
    first = np.sum((known + images) * inside, axis=1) / 6
    second = np.sum((unknown + images) * ~inside, axis=1) / 4
    return np.asarray(first + second + 0.5 * chance.normal(size=(arms, MOST)))


def of_units(units: int) -> Draw:
    """Draw a few fixed units (classes), which differ by 1 in what an arm gains, and trainings, which differ by 0.5."""

    def draw(chance: np.random.Generator) -> Floats:
        effects = chance.normal(size=(CLAIMS + 1, units))
        return np.asarray(effects[:, np.arange(MOST) % units] + 0.5 * chance.normal(size=(CLAIMS + 1, MOST)))

    return draw


def pieces(design: Design, effects: Sequence[float], chance: np.random.Generator) -> list[Piece]:
    """Return the six claims of a paper; an effect is in standard deviations of a one-replicate difference."""
    values = design.draw(chance)
    unit = np.std(values[:CLAIMS] - values[-1])
    pairing = ("same", "same") if design.paired else ("ours", "baseline")
    common = design.samples * unit * chance.normal(size=CLAIMS)
    found = []
    for i, effect in enumerate(effects):
        arms = [values[i] + effect * unit + common[i], values[-1]]
        noise = design.samples * unit * chance.normal(size=(RESAMPLED, 1)) if design.samples else np.zeros((2, 1))
        resampled = [arms[0] + noise, np.tile(arms[1], (len(noise), 1))]
        if design.overlap:
            resampled = [arm + design.overlap * chance.normal(size=(RESAMPLED, MOST)) for arm in arms]
        units = tuple(np.arange(MOST) % design.units) if design.units else ()
        found.append(
            Piece(
                PARTS,
                pairing,
                tuple(range(MOST)),
                Replicates(arms, resampled, 1000, 1000, units, bool(design.overlap)),
                "higher",
            )
        )
    return found


def verdicts(design: Design, effects: Sequence[float], chance: np.random.Generator) -> tuple[list[str], list[int]]:
    """Return the verdict of each claim of a paper, and the replicates it got."""
    made = pieces(design, effects, chance)
    unit = float(np.mean([np.std(one.found.observed[0] - one.found.observed[1]) for one in made]))
    claim = CLAIM.model_copy(update={"relevant": design.relevant * unit})
    stages = LOOKS.stages()
    everything = [judge_at(claim, PAPER, [piece], range(MOST), stages) for piece in made]
    reached = [1 if design.adaptive else len(stages)] * CLAIMS
    while True:
        judged: list[Judged | None] = []
        for one, count, piece in zip(everything, reached, made, strict=True):
            assert one is not None
            seen = Judged(one.looks[:count], one.findings[:count], one.relevant)
            baseline = 0.65 + 0.05 * piece.found.observed[1][: stages[count - 1].replicates]
            closed = design.gate and unrepresentative(claim, "baseline", Regime(tuple(baseline), (), Gate()))
            judged.append(None if closed else seen)
        outcomes = correct(judged)
        further = [
            count < len(stages) and one is not None and not outcome.decided and not outcome.smaller
            and not given_up(claim, one, LOOKS)
            for one, outcome, count in zip(judged, outcomes, reached, strict=True)
        ]  # fmt: skip
        if not any(further):
            break
        reached = [count + more for count, more in zip(reached, further, strict=True)]
    named = []
    for one, outcome in zip(judged, outcomes, strict=True):
        word = "open"
        if one is not None and outcome.decided:
            word = "supported" if one.reported()[1].holds else "contradicted"
        elif outcome.smaller:
            word = "smaller"
        named.append(word)
    return named, [stages[count - 1].replicates for count in reached]


def false(word: str, effect: float, relevant: float) -> bool:
    """Return whether a verdict says what the truth is not."""
    wrong = {"supported": effect <= 0, "contradicted": effect >= 0, "smaller": abs(effect) >= relevant > 0}
    return wrong.get(word, False)


def shares(design: Design, papers: int, effects: Sequence[float], seed: int) -> tuple[float, float, float]:
    """Return the share of papers with a false verdict, of true effects decided, and the mean of replicates."""
    wrong, found, replicates = 0, [], []
    for k in range(papers):
        words, used = verdicts(design, effects, np.random.default_rng([seed, k]))
        wrong += any(false(word, effect, design.relevant) for word, effect in zip(words, effects, strict=True))
        found += [word == "supported" for word, effect in zip(words, effects, strict=True) if effect > 0]
        replicates += used
    return wrong / papers, float(np.mean(found)) if found else float("nan"), float(np.mean(replicates))


MIXED = (0.0, 0.0, 0.0, 0.5, 0.5, -0.5)
DESIGNS = (
    Design("normal, paired", normal()),
    Design("normal, not paired (Welch)", normal(shared=0.0), paired=False),
    Design("part of the test images in common, 0.3", normal(), samples=0.3),
    Design("two modes, 70 % and 30 %", transformed(bimodal)),
    Design("rare collapse, one in ten", transformed(collapse)),
    Design("skewed", transformed(skewed)),
    Design("baseline's spread x 3, not paired", normal(3.0, 0.0), paired=False),
    Design("baseline's spread x 1/3", normal(1 / 3)),
    Design("random splits of ten classes, shared images", splits, overlap=IMAGES * np.sqrt(1 / 6 + 1 / 4)),
    Design("ten classes, replicate r on class r mod 10", of_units(10), units=10),
    Design("five splits, replicate r on split r mod 5", of_units(5), units=5),
    Design("gate: baseline's mean at its end", normal(), gate=True),
    Design("stopped at a decision or given up", normal(), adaptive=True),
    Design("relevant effect 0.5, six without effect", normal(), relevant=0.5),
    Design("relevant effect 0.5, effects 0, 0, 0, 0.5, 0.5, -0.5", normal(), relevant=0.5, effects=MIXED),
    Design("the same, stopped, with the gate", normal(), relevant=0.5, effects=MIXED, gate=True, adaptive=True),
    Design("relevant effect 1, one without effect, five of 1", normal(), relevant=1.0, effects=(0.0, *(1.0,) * 5)),
)


def main() -> None:
    """Print one row of a Markdown table a design."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--papers", type=int, default=2000)
    parser.add_argument("--effects", type=int, default=100, help="papers with three true effects of one")
    parser.add_argument("--design", nargs="*", default=[], help="parts of names; default: all")
    options = parser.parse_args()
    begun = time.process_time()
    print("| results | papers with a false verdict, % | effects of 1 decided, % | replicates a claim |")
    print("|---|---:|---:|---:|")
    for place, design in enumerate(DESIGNS):
        if options.design and not any(part in design.name for part in options.design):
            continue
        wrong, _, _ = shares(design, options.papers, design.effects, place)
        _, found, replicates = shares(design, options.effects, (0.0, 0.0, 0.0, 1.0, 1.0, 1.0), 100 + place)
        error = 100 * np.sqrt(max(wrong, 1 / options.papers) * (1 - wrong) / options.papers)
        print(f"| {design.name} | {100 * wrong:.1f} ± {error:.1f} | {100 * found:.0f} | {replicates:.0f} |", flush=True)
    print(f"\n{options.papers} papers a row, {time.process_time() - begun:.0f} CPU-seconds")


if __name__ == "__main__":
    main()
