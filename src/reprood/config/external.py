"""Methods whose outputs were computed elsewhere: `use: external` in a suite.

    mine: {use: external, label: My method, set: {folder: "my_runs/{benchmark}/{seed}"}}

The folder of a run has one file for each split and condition: `validation.npz`, `test.npz`, `<OOD set>.npz`, and
`train.npz` if a detector is fitted on it. `reprood.predict.external` says what they hold.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from reprood.config.benchmark import Benchmark
from reprood.config.conditions import conditions
from reprood.config.records import Line, Record
from reprood.core.errors import ReproodError
from reprood.core.messages import explain_validation

EXTERNAL = "external"
ENDINGS = (".npz", ".parquet", ".csv")
PLACES = ("benchmark", "family", "member", "method", "seed")
UNSUPPORTED = ("localisation", "segmentation")  # evaluations that need boxes or maps


class External(Record):
    """The settings (`set:`) of a method whose outputs are given.

    Attributes
    ----------
    folder : str
        Folder of a run, relative to the working directory; {benchmark}, {family}, {member}, {method} and {seed} are
        replaced.
    network, precision : str
        What made the outputs, as the report shows it.
    parameters : int
        Number of the network's parameters; 0: not stated.
    """

    folder: str = Field(min_length=1)
    network: Line = "not stated"
    precision: Line = "not stated"
    parameters: int = Field(default=0, ge=0)

    @field_validator("folder")
    @classmethod
    def _known_places(cls, value: str) -> str:
        unknown = [name for name in re.findall(r"\{([^{}]*)\}", value) if name not in PLACES]
        if unknown:
            raise ValueError(f"{{{unknown[0]}}} is not known; expected some of {', '.join(f'{{{n}}}' for n in PLACES)}")
        return value


def read_external(values: Mapping[str, Any], where: str) -> External:
    """Return the settings of a method whose outputs are given.

    Raises
    ------
    ReproodError
        For an unknown or wrong setting.
    """
    try:
        return External.model_validate(dict(values))
    except ValidationError as error:
        raise ReproodError(explain_validation(error, where, External.model_fields)) from error


def check_external(benchmark: str, record: Benchmark, values: Mapping[str, Any], where: str) -> None:
    """Check the settings of a method whose outputs are given, and that the benchmark can be evaluated on such outputs.

    Raises
    ------
    ReproodError
        One sentence.
    """
    read_external(values, where)
    unsupported = [name for name in UNSUPPORTED if name in record.evaluations]
    if unsupported:
        raise ReproodError(
            f"{where}: given outputs hold no boxes and maps, and {benchmark} evaluates {unsupported[0]}; take that "
            "evaluation out of the benchmark or the method out of its runs."
        )


def run_folder(external: External, benchmark: str, record: Benchmark, method: str, seed: int) -> Path:
    """Return the folder with the given outputs of a run."""
    places = {
        "benchmark": benchmark,
        "family": record.family or benchmark,
        "member": record.member or benchmark,
        "method": method,
        "seed": str(seed),
    }
    return Path(re.sub(r"\{(\w+)\}", lambda found: places[found[1]], external.folder))


def output_file(folder: Path, split: str) -> Path:
    """Return the one file with the outputs of a split or condition.

    Raises
    ------
    ReproodError
        When there is none, or more than one.
    """
    found = [path for ending in ENDINGS if (path := folder / f"{split}{ending}").is_file()]
    if not found:
        names = ", ".join(f"{split}{ending}" for ending in ENDINGS)
        raise ReproodError(f"{folder} has no outputs of the split '{split}'; expected one of {names}.")
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise ReproodError(f"{folder} has the outputs of the split '{split}' twice, in {names}; keep one of them.")
    return found[0]


def condition_limits(record: Benchmark) -> dict[str, int | None]:
    """Return the conditions of a benchmark -> number of the first test images that they change; None: all."""
    limits = {f"attacked/{name}": attack.limit for name, attack in record.attacks.items()}
    parts = {"corrupted": record.corruption, "occluded": record.occlusion}
    limits |= {kind: options.limit for kind, options in parts.items() if options is not None}
    return {name: limits[name if name in limits else name.split("/")[0]] for name in conditions(record)}
