"""Conditions: changed copies of the test set on which a trained model is evaluated as well.

A condition has a name like a path: `corrupted/<corruption>/<severity>`, `attacked/<attack>`,
`occluded/<where>/<side>`, `between/<kind>/<share>`. A prefix of such names (`corrupted`, `occluded/center`) stands for
the mean over all conditions that begin with it.
"""

from reprood.config.benchmark import Benchmark

KINDS = ("corrupted", "attacked", "occluded", "between")
UNLIKE = ("attacked", "between")  # a mean over different attacks, or ways of mixing, has no meaning


def conditions(benchmark: Benchmark) -> tuple[str, ...]:
    """Return the names of all conditions of a benchmark, in order."""
    names: list[str] = []
    if benchmark.corruption is not None:
        options = benchmark.corruption
        names += [f"corrupted/{name}/{severity}" for name in options.names for severity in options.severities]
    names += [f"attacked/{name}" for name in benchmark.attacks]
    if benchmark.occlusion is not None:
        names += [f"occluded/{w}/{side}" for w in benchmark.occlusion.where for side in benchmark.occlusion.sides]
    if benchmark.between is not None:
        names += [f"between/{kind}/{share}" for kind in benchmark.between.kinds for share in benchmark.between.shares]
    return tuple(names)


def matching(benchmark: Benchmark, name: str) -> tuple[str, ...]:
    """Return the condition called `name`, or all conditions of which `name` is a prefix."""
    return tuple(c for c in conditions(benchmark) if c == name or c.startswith(f"{name}/"))


def summaries(benchmark: Benchmark) -> tuple[str, ...]:
    """Return the prefixes over whose conditions means are reported."""
    prefixes: dict[str, None] = {}
    for name in conditions(benchmark):
        parts = name.split("/")
        for stop in range(1, len(parts)):
            prefix = "/".join(parts[:stop])
            if prefix not in UNLIKE:
                prefixes[prefix] = None
    return tuple(prefixes)


def is_condition(split: str) -> bool:
    """Return whether a split's name is that of a condition, or of a mean over conditions."""
    return split.split("/")[0] in KINDS
