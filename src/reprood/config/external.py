"""Methods that were trained elsewhere: `use: external` in a suite, with the outputs or with the weights.

    mine: {use: external, label: My method, set: {folder: "my_runs/{benchmark}/{seed}"}}
    net: {use: external, label: My network,
          set: {weights: "w/{seed}.pth", network: "torchvision:resnet18", mean: 0.5, std: 0.25}}

The folder of a run has one file for each split and condition: `validation.npz`, `test.npz`, `<OOD set>.npz`, and
`train.npz` if a detector is fitted on it. `reprood.predict.external` says what they hold. With weights, the predict
stage runs the network like one that was trained here; see `reprood.train.given`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, FiniteFloat, ValidationError, field_validator, model_validator

from reprood.config.benchmark import Benchmark
from reprood.config.conditions import conditions
from reprood.config.records import Line, Record
from reprood.core.errors import ReproodError
from reprood.core.messages import explain_validation

EXTERNAL = "external"
ENDINGS = (".npz", ".parquet", ".csv")
PLACES = ("benchmark", "family", "member", "method", "seed")
OF_WEIGHTS = ("mean", "std", "input_size", "layer")  # settings that only a network has


def _numbers(value: Any) -> Any:
    return (value,) if isinstance(value, int | float) else value


Numbers = Annotated[
    tuple[FiniteFloat, ...], BeforeValidator(_numbers, json_schema_input_type=float | tuple[float, ...])
]


class External(Record):
    """The settings (`set:`) of a method that was trained elsewhere: a folder of outputs, or a file of weights.

    Attributes
    ----------
    folder : str
        Folder of a run, relative to the working directory; {benchmark}, {family}, {member}, {method} and {seed} are
        replaced.
    weights : str
        File with the state dict of a run's network, named in the same way.
    network : str
        With weights, which network they are of, in the form of `reprood score --network`; else, what made the outputs,
        as the report shows it.
    precision : str
        With a folder: in which the outputs were computed, as the report shows it.
    parameters : int
        With a folder: number of the network's parameters; 0: not stated.
    mean, std : tuple of float
        With weights: normalisation of the images, in units of [0, 1], one number for each channel or one for all.
    input_size : int
        With weights: side to which the benchmark's images are resized for the network; 0: unchanged.
    layer : str
        With weights: the layer of the features; "": the last linear layer that runs.
    """

    folder: str = ""
    weights: str = ""
    network: Line = "not stated"
    precision: Line = "not stated"
    parameters: int = Field(default=0, ge=0)
    mean: Numbers = ()
    std: Numbers = ()
    input_size: int = Field(default=0, ge=0, le=4096)
    layer: str = ""

    @model_validator(mode="after")
    def _one_of_two(self) -> "External":
        if bool(self.folder) == bool(self.weights):
            raise ValueError("give either 'folder', with outputs, or 'weights', a state dict")
        given = [name for name in OF_WEIGHTS if getattr(self, name)]
        if self.folder and given:
            raise ValueError(f"'{given[0]}' is for a network; it needs 'weights' in place of 'folder'")
        if self.weights and (not self.mean or not self.std or min(self.std) <= 0):
            raise ValueError("'weights' needs 'mean' and 'std' > 0, with which the network's images were normalised")
        if self.weights and ":" not in self.network:
            raise ValueError(
                "'weights' needs 'network': torchvision:NAME, timm:NAME, reprood:NAME or ./file.py:FUNCTION"
            )
        return self

    @field_validator("folder", "weights")
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
    """Check the settings of a method that was trained elsewhere, and that the benchmark can be evaluated on it.

    Raises
    ------
    ReproodError
        One sentence.
    """
    external = read_external(values, where)
    if not external.weights and "between" in record.evaluations:
        raise ReproodError(
            f"{where}: given outputs hold no pairs of images, and {benchmark} evaluates them (between); take that "
            "evaluation out of the benchmark or the method out of its runs."
        )
    if external.weights and "localisation" in record.evaluations:
        raise ReproodError(
            f"{where}: {benchmark} evaluates localisation, for which a network with given weights has no class "
            "activation maps; give outputs with boxes (folder), or take that evaluation out of the benchmark."
        )
    channels = record.preparation.channels
    for name in ("mean", "std"):
        count = len(getattr(external, name))
        if external.weights and count not in (1, channels):
            raise ReproodError(f"{where}: {name} has {count} numbers; {benchmark} has images of {channels} channels.")


def run_path(external: External, benchmark: str, record: Benchmark, method: str, seed: int) -> Path:
    """Return the folder with the given outputs of a run, or the file with its weights."""
    places = {
        "benchmark": benchmark,
        "family": record.family or benchmark,
        "member": record.member or benchmark,
        "method": method,
        "seed": str(seed),
    }
    return Path(re.sub(r"\{(\w+)\}", lambda found: places[found[1]], external.folder or external.weights))


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
    parts = {"corrupted": record.corruption, "occluded": record.occlusion, "between": record.between}
    limits |= {kind: options.limit for kind, options in parts.items() if options is not None}
    return {name: limits[name if name in limits else name.split("/")[0]] for name in conditions(record)}
