"""Records of what the data stage makes: which rows of which data set, prepared how, with which labels."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from reprood.images.registry import STYLE_NAMES

NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
NAME_LENGTH = 80  # names are joined to the names of files
FORMULA = ("=", "+", "-", "@")


def plain_line(text: str) -> str:
    """Refuse a text that could not stand in a line or in a cell of a table.

    Raises
    ------
    ValueError
        For more than 500 characters, for a control character, and for a beginning that a spreadsheet takes for a
        formula: such texts become cells of CSV files.
    """
    if len(text) > 500:
        raise ValueError(f"{len(text)} characters are too many for a line; expected at most 500")
    if not text.isprintable():
        raise ValueError("it holds a control character; expected one line of plain text")
    if text.startswith(FORMULA) and len(text) > 1:
        raise ValueError(f"it begins with '{text[0]}', which spreadsheets take for a formula; begin with a word")
    return text


Line = Annotated[str, AfterValidator(plain_line)]


class Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


class Preparation(Record):
    """The one decode-and-resize rule that every split of a benchmark goes through.

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
    `style` names a fixed change of the images' style (`reprood.images.styles`), made after the preparation.
    `resample` "nearest" shrinks without antialiasing, so that artefacts show (`reprood.data.resampling`).
    `mixed` averages each image with the one a hundred rows before it (CSI's "Interp").
    `labelled` keeps the labels of an auxiliary set, for methods that learn from them.
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

    @field_validator("classes")
    @classmethod
    def _class_numbers(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (not value or min(value) < 0 or len(set(value)) < len(value)):
            raise ValueError("classes are numbers from 0 on, at least one, each named once")
        return value

    @field_validator("style")
    @classmethod
    def _known_style(cls, value: str) -> str:
        if value and value not in STYLE_NAMES:
            raise ValueError(f"there is no style '{value}'; known: {', '.join(STYLE_NAMES)}")
        return value


class Outlier(Source):
    """A test set of images that are not in-distribution.

    `shift`: near = other classes in the same style, far = another domain, noise = synthetic noise, style = a fixed
    change of style (of ID classes or of others; such sets enter no mean).
    """

    shift: Literal["near", "far", "noise", "style"]


class LabelNoise(Record):
    """Wrong labels in the training split, drawn once by the data stage (Hendrycks et al. 2019).

    Attributes
    ----------
    kind : {"uniform", "flip", "hierarchical"}
        How wrong labels are spread over the classes.
    strength : float
        Share of labels that are drawn anew (uniform) or moved (flip, hierarchical).
    seed : int
        Of the draw.
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
    """Refuse a name that cannot be part of a path of the workflow."""
    if not NAME.fullmatch(name):
        raise ValueError(f"the {what} name {name[:NAME_LENGTH]!r} must be lower-case letters, digits and '_'")
    if len(name) > NAME_LENGTH:
        raise ValueError(f"the {what} name '{name[:20]}...' has {len(name)} characters; expected at most {NAME_LENGTH}")
