"""The parts of run and data records that the report needs, validated so that errors name the damaged file."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from reprood.core.errors import ReproodError
from reprood.core.files import read_json
from reprood.core.messages import explain_validation


class Phase(BaseModel):
    """A phase of a training."""

    seconds: FiniteFloat = Field(ge=0)
    images: FiniteFloat = Field(ge=0)


class RunRecord(BaseModel):
    """run.json."""

    device: str
    threads: int
    precision: str
    versions: dict[str, str]
    data: dict[str, str]
    phases: tuple[Phase, ...]


class Network(BaseModel):
    """The network of a run."""

    name: str


class ModelRecord(BaseModel):
    """model.json."""

    use: str
    backbone: Network
    parameters: int = Field(ge=0)
    settings: dict[str, Any]


class FileRecord(BaseModel):
    """A file of a data set."""

    digest_status: str
    origin: str = Field(alias="from")


class Files(BaseModel):
    """The source files of a split."""

    files: tuple[FileRecord, ...]


class SplitRecord(BaseModel):
    """meta.json of a benchmark's split."""

    title: str
    split: str
    licence: str
    content: str
    count: int = Field(ge=1)
    source: Files
    classes: tuple[str, ...] = ()


class LintRecord(BaseModel):
    """lint.json."""

    duplicates: dict[str, int]
    overlaps: dict[str, int]


def checked(path: Path, form: type[BaseModel]) -> dict[str, Any]:
    """Read a JSON record and validate it against `form`; additional keys are allowed.

    Raises
    ------
    ReproodError
        If the file is missing, not JSON, or misses a key; the message names both.
    """
    record = read_json(path)
    try:
        form.model_validate(record)
    except ValidationError as error:
        raise ReproodError(explain_validation(error, str(path))) from error
    return dict(record)
