"""Published settings, and how the setting of a measurement differs from them. No torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from reprood.config.benchmark import Benchmark
from reprood.config.records import Outlier, Record
from reprood.evaluate.metrics import PRECISION_METRICS
from reprood.evaluate.table import base_rate, members

Kind = Literal[
    "data",
    "substitute",
    "members",
    "network",
    "ood",
    "base rate",
    "auxiliary",
    "precision",
    "checkpoint",
    "images",
    "unknown",
]
CHECKPOINTS = {
    "last": "of the last epoch",
    "best_test": "of the epoch with the best test error",
    "best_robust_test": "of the epoch with the best robust test error",
}
MINOR: tuple[Kind, ...] = ("checkpoint", "images")  # listed, but they do not make it another setting for a claim
NOTED: tuple[Kind, ...] = ("images",)  # listed next to a published number that is attached


@dataclass(frozen=True)
class Difference:
    """One difference between a measurement and a published setting: its kind, and one clause of text."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Measurement:
    """The setting of a measurement.

    Attributes
    ----------
    benchmark : Benchmark
    backbone : mapping
        The network's name and options.
    precision : str
        "fp32", "bf16", or "auto" (not resolved yet).
    auxiliary : tuple of str
        Names of the benchmark's auxiliary sets that the compared methods learn from.
    whole : bool
        Whether the measurement covers all members of the benchmark's family.
    substitutes : mapping
        Data set -> title of other data that were used in its place (`Suite.substitutes`).
    """

    benchmark: Benchmark
    backbone: Mapping[str, object]
    precision: str
    auxiliary: tuple[str, ...] = ()
    whole: bool = True
    substitutes: Mapping[str, str] = field(default_factory=dict)

    def auxiliary_sets(self) -> set[str]:
        """Return the data sets of the auxiliary images that the compared methods learn from."""
        return {self.benchmark.auxiliary[name].dataset for name in self.auxiliary if name in self.benchmark.auxiliary}


class Setting(Record):
    """The setting of a published claim or number.

    Attributes
    ----------
    dataset : str
        Training data set.
    test : str
        Data set of the test images; "": the training data set.
    backbone : mapping
        The network's name and the options that must be equal.
    family : str
        Family of benchmarks over whose members (classes, splits of classes) the published value is a mean; "": none.
    ood : tuple of str
        Exactly the data sets of the published mean (or the one OOD set): `<data set>`, or `<data set>/<split>` where
        the split matters. Empty: no OOD sets, or not known.
    outlier_classes : int
        Number of classes in the OOD sets of an open-set problem; 0: any.
    split : str
        OOD set, or group under `means`, that is the published one in benchmarks that have it; others use the split
        of the number.
    base_rate : str
        Published share of OOD images, for AUPR ("1/6").
    auxiliary : tuple of str
        Data sets of auxiliary images; not compared for methods that use none.
    checkpoint : {"last", "best_test", "best_robust_test"}
        Epoch of the published value.
    precision : {"fp32", "bf16"}
        Number format of the published training.
    images : int or None
        Number of training images; None: all of the training split.
    """

    dataset: str
    test: str = ""
    backbone: dict[str, str | int | float] = {}
    family: str = ""
    ood: tuple[str, ...] = ()
    outlier_classes: int = Field(default=0, ge=0)
    split: str = ""
    base_rate: str = Field(default="", pattern=r"^([1-9][0-9]{0,5}/[1-9][0-9]{0,5})?$")
    auxiliary: tuple[str, ...] = ()
    checkpoint: Literal["last", "best_test", "best_robust_test"] = "last"
    precision: Literal["fp32", "bf16"] = "fp32"
    images: int | None = Field(default=None, ge=1)

    def differences(self, measured: Measurement, split: str = "", metric: str = "") -> list[Difference]:
        """Return how a measurement differs from this setting.

        Parameters
        ----------
        measured : Measurement
            The setting of the measurement.
        split : str
            OOD set or mean that is measured; "" for metrics without OOD sets.
        metric : str
            Name of the metric; the base rate matters to AUPR alone.
        """
        benchmark, train = measured.benchmark, measured.benchmark.train
        found: list[Difference] = []
        if train.dataset != self.dataset:
            found.append(Difference("data", f"trained on {train.dataset}, published for {self.dataset}"))
        expected = {self.test} if self.test else {self.dataset, train.dataset}
        if benchmark.test.dataset not in expected:
            published = self.test or self.dataset
            found.append(Difference("data", f"tested on {benchmark.test.dataset}, published for {published}"))
        found += substituted(measured, split)
        if self.family and (benchmark.family != self.family or not measured.whole):
            here = benchmark.family if measured.whole else f"a part of {benchmark.family}"
            found.append(
                Difference("data", f"measured on {here or 'one benchmark'}, published as mean of {self.family}")
            )
        wrong = {key: value for key, value in self.backbone.items() if measured.backbone.get(key) != value}
        if wrong:
            wanted = " ".join(f"{value}" if key == "name" else f"{key} {value}" for key, value in self.backbone.items())
            found.append(Difference("network", f"published for the network {wanted}"))
        sets = members(benchmark, split)
        if self.ood and sets:
            found += _other_sets(self.ood, [benchmark.ood[name] for name in sets])
        classes = sum(len(benchmark.ood[name].classes or ()) for name in sets)
        if sets and self.outlier_classes and classes != self.outlier_classes:
            found.append(Difference("ood", f"{classes} unknown classes, published with {self.outlier_classes}"))
        if metric in PRECISION_METRICS:
            here, there = (
                str(rate or "that of the test sets") for rate in (base_rate(benchmark, split), self.base_rate)
            )
            if here != there:
                found.append(Difference("base rate", f"base rate of the AUPR: {here}, published {there}"))
        used = sorted(measured.auxiliary_sets())
        if used and used != sorted(self.auxiliary):
            published = ", ".join(self.auxiliary) or "an unknown set"
            found.append(Difference("auxiliary", f"auxiliary images of {', '.join(used)}, published with {published}"))
        if measured.precision != self.precision:
            text = "mixed precision on recent GPUs" if measured.precision == "auto" else measured.precision
            found.append(Difference("precision", f"trained in {text}, published in {self.precision}"))
        if self.checkpoint != "last":
            text = f"here {CHECKPOINTS['last']}, published {CHECKPOINTS[self.checkpoint]}"
            found.append(Difference("checkpoint", text))
        if train.limit != self.images:
            count = "all training images" if train.limit is None else f"{train.limit:,} training images"
            published = "all" if self.images is None else f"{self.images:,}"
            found.append(Difference("images", f"{count}, published with {published}"))
        return found


def substituted(measured: Measurement, split: str = "") -> list[Difference]:
    """Return which of the data sets of a measurement are other data in their place."""
    benchmark = measured.benchmark
    outliers = {benchmark.ood[name].dataset for name in members(benchmark, split)}
    read = {benchmark.train.dataset, benchmark.test.dataset, *outliers, *measured.auxiliary_sets()}
    return [
        Difference("substitute", f"{title} in place of {name}")
        for name, title in measured.substitutes.items()
        if name in read
    ]


def _other_sets(published: Sequence[str], outliers: Sequence[Outlier]) -> list[Difference]:
    """Return the differences between the published OOD sets and those of a mean; they must be the same sets."""
    names = [(f"{outlier.dataset}/{outlier.split}", outlier.dataset) for outlier in outliers]
    missing = sorted(name for name in published if not any(name in pair for pair in names))
    surplus = sorted(full for full, short in names if full not in published and short not in published)
    found = []
    if missing:
        found.append(Difference("ood", f"published with the OOD sets {', '.join(missing)} as well"))
    if surplus:
        found.append(Difference("ood", f"published without the OOD sets {', '.join(surplus)}"))
    for outlier in outliers:
        if outlier.limit is not None:
            text = f"the first {outlier.limit:,} images of {outlier.dataset}, published with all"
            found.append(Difference("ood", text))
    return found


def closest(settings: Iterable[Setting], measured: Measurement, split: str = "", metric: str = "") -> list[Difference]:
    """Return the differences from the most similar of several settings; without settings, the substituted data."""
    found = [setting.differences(measured, split, metric) for setting in settings]
    return min(
        found,
        key=lambda one: ([d.kind in MINOR for d in one].count(False), len(one)),
        default=substituted(measured, split),
    )


def texts(differences: Iterable[Difference]) -> str:
    """Return differences as one text, each once."""
    return "; ".join(dict.fromkeys(one.text for one in differences))


def attached(differences: Iterable[Difference]) -> bool:
    """Return whether a published number may be compared with a measurement in spite of these differences."""
    return all(one.kind in NOTED for one in differences)


def major(differences: Iterable[Difference]) -> list[Difference]:
    """Return the differences that make it another setting."""
    return [one for one in differences if one.kind not in MINOR]
