"""Conditions: changed copies of the test set on which a trained model is asked again.

A condition has a name like a path: `corrupted/<corruption>/<severity>`, `attacked/<attack>`,
`occluded/<where>/<side>`. The beginning of such a name (`corrupted`, `occluded/center`) means the mean over all that
begin so.
"""

from reprood.config.suite import Benchmark

KINDS = ("corrupted", "attacked", "occluded")


def conditions(benchmark: Benchmark) -> tuple[str, ...]:
    """All conditions of a benchmark, in order."""
    names: list[str] = []
    if benchmark.corruption is not None:
        made = benchmark.corruption
        names += [f"corrupted/{name}/{severity}" for name in made.names for severity in made.severities]
    names += [f"attacked/{name}" for name in benchmark.attacks]
    if benchmark.occlusion is not None:
        names += [f"occluded/{w}/{side}" for w in benchmark.occlusion.where for side in benchmark.occlusion.sides]
    return tuple(names)


def matching(benchmark: Benchmark, name: str) -> tuple[str, ...]:
    """The conditions that a name means: the one of that name, or all whose name begins with it."""
    return tuple(c for c in conditions(benchmark) if c == name or c.startswith(f"{name}/"))


def summaries(benchmark: Benchmark) -> tuple[str, ...]:
    """The beginnings of names over which means are taken: of more than one condition, or for a claim to name."""
    found: dict[str, None] = {}
    for name in conditions(benchmark):
        parts = name.split("/")
        for stop in range(1, len(parts)):
            beginning = "/".join(parts[:stop])
            if beginning != "attacked":  # a mean over different attacks means nothing
                found[beginning] = None
    return tuple(found)


def is_condition(split: str) -> bool:
    """The name of a split is that of a condition, or of a mean over conditions."""
    return split.split("/")[0] in KINDS
