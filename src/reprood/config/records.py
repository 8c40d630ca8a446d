"""Records of the data stage: which rows of which data set, how they are prepared, with which labels.

The records that jobs validate (this module, `perturbations`, `benchmark`) depend on no list of names: the names of
styles, corruptions and detectors are checked in `reprood.config.names` when a suite is loaded. A new style or
corruption therefore changes no job that does not use it.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
NAME_LENGTH = 80  # names become parts of file names
FORMULA = ("=", "+", "-", "@")


def plain_line(text: str) -> str:
    """Return `text` unchanged if it can be a line of a page or a cell of a table.

    Raises
    ------
    ValueError
        For more than 500 characters, for a control character, and for a first character that makes a spreadsheet
        read the text as a formula: such texts become cells of CSV files.
    """
    if len(text) > 500:
        raise ValueError(f"{len(text)} characters are too many for a line; expected at most 500")
    if not text.isprintable():
        raise ValueError("it contains a control character; expected one line of plain text")
    if text.startswith(FORMULA) and len(text) > 1:
        raise ValueError(f"it begins with '{text[0]}', which spreadsheets read as a formula; begin with a word")
    return text


Line = Annotated[str, AfterValidator(plain_line)]


class Record(BaseModel):
    """A frozen record that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


class Preparation(Record):
    """The decoding and resizing rule that all splits of a benchmark share.

    Attributes
    ----------
    size : int
        Side of the square images in pixels.
    channels : {1, 3}
        Grey (ITU-R 601 luma) or RGB.
    """

    size: int = Field(ge=8, le=512)
    channels: Literal[1, 3]


class Source(Record):
    """Rows of a data set's split: which classes, and which part of a fixed class-stratified order.

    Two sources with the same data set, split and classes and with disjoint [skip, skip + limit) ranges are disjoint.

    Attributes
    ----------
    dataset, split : str
        Name in the catalogue, and one of its splits.
    classes : tuple of int or None
        Which classes; None: all. In the file of a suite, a benchmark with `splits` says `known` or `unknown`.
    skip, limit : int
        Range of rows of each class; `limit` None: up to the last.
    style : str
        Name of a fixed change of the images' style (`reprood.images.styles`), applied after the preparation.
    resample : {"antialiased", "nearest"}
        "nearest" shrinks without antialiasing, so that artefacts show (`reprood.data.resampling`).
    mixed : bool
        Average each image with the one a hundred rows before it (CSI's "Interp").
    labelled : bool
        Keep the labels of an auxiliary set, for methods that learn from them.
    """

    dataset: str
    split: str
    classes: tuple[int, ...] | None = None
    skip: int = Field(default=0, ge=0)
    limit: int | None = Field(default=None, ge=1)
    style: str = ""
    resample: Literal["antialiased", "nearest"] = "antialiased"
    mixed: bool = False
    labelled: bool = False

    @field_validator("classes", mode="before")
    @classmethod
    def _split_is_drawn(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError(
                f"classes is '{value}', and only a benchmark with 'splits' has known and unknown classes, written "
                "`known` and `unknown`; list numbers, or add `splits: {classes: ..., known: ...}`"
            )
        return value

    @field_validator("classes")
    @classmethod
    def _class_numbers(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (not value or min(value) < 0 or len(set(value)) < len(value)):
            raise ValueError("classes are numbers from 0 on, at least one, each named once")
        return value


class Outlier(Source):
    """A test set of images that are not in-distribution.

    Attributes
    ----------
    shift : {"near", "far", "noise", "style"}
        near: other classes in the same style; far: another domain; noise: synthetic noise; style: a fixed change of
        style (of ID or other classes; these sets enter no mean).
    extra : bool
        Not part of the protocol that the benchmark reproduces: the set enters no automatic mean (`mean_all`,
        `mean_natural`, ...), only the groups of `means` that name it.
    """

    shift: Literal["near", "far", "noise", "style"]
    extra: bool = False


class LabelNoise(Record):
    """Wrong labels in the training split, drawn once by the data stage (Hendrycks et al. 2019).

    Attributes
    ----------
    kind : {"uniform", "flip", "hierarchical"}
        How wrong labels are distributed over the classes.
    strength : float
        Share of labels that are redrawn (uniform) or moved (flip, hierarchical).
    seed : int
        Seed of the draw.
    trusted : float
        Share of training images whose label is known to be right.
    superclasses : tuple of int or None
        Super-class of each class, for `hierarchical`.
    """

    kind: Literal["uniform", "flip", "hierarchical"] = "uniform"
    strength: float = Field(ge=0, le=1)
    seed: int = Field(default=1, ge=0, lt=2**32)
    trusted: float = Field(default=0.0, ge=0, lt=1)
    superclasses: tuple[int, ...] | None = None


def check_name(name: str, what: str) -> None:
    """Check that `name` can be part of a path.

    Parameters
    ----------
    name : str
        The name.
    what : str
        What it names, for the message.

    Raises
    ------
    ValueError
        For other characters than lower-case letters, digits and underscores, and for a name that is too long.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"the {what} name {name[:NAME_LENGTH]!r} must be lower-case letters, digits and '_'")
    if len(name) > NAME_LENGTH:
        raise ValueError(f"the {what} name '{name[:20]}...' has {len(name)} characters; expected at most {NAME_LENGTH}")
