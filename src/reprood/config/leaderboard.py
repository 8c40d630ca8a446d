"""A published leaderboard, next to which a benchmark's report puts its own numbers."""

from pydantic import Field, model_validator

from reprood.config.records import Line, Record

ACCURACY = "accuracy"  # 1 - top1_error


class Column(Record):
    """What a column of a leaderboard measures.

    Attributes
    ----------
    title : str
        Head of the column.
    metric : str
        A metric of the results, or "accuracy".
    split : str
        Its split, for instance "test", "mean_near" or "attacked/autoattack".
    """

    title: Line
    metric: str
    split: str


class Entry(Record):
    """A row of a leaderboard.

    Attributes
    ----------
    name : str
        Name of the row in the published table.
    method : str
        The suite's method that has the same training; "" if there is none.
    score : str
        The score that is the same; "" for a method that is judged by accuracy alone.
    values : tuple of float
        Published values in percent, in the order of the columns.
    spread : tuple of float
        Published standard deviations; may be empty.
    """

    name: Line
    method: str = ""
    score: str = ""
    values: tuple[float | None, ...]
    spread: tuple[float | None, ...] = ()


class Leaderboard(Record):
    """A published leaderboard.

    Attributes
    ----------
    title : str
        Name of the leaderboard.
    source, url : str
        Where the values were read.
    setting : str
        Network, schedule and number of trainings behind the values.
    columns : tuple of Column
        What is measured.
    rows : tuple of Entry
        The published rows.
    """

    title: Line
    source: Line
    url: str = Field(default="", pattern=r"^(https?://[^\s\"'<>]+)?$")
    setting: Line
    columns: tuple[Column, ...] = Field(min_length=1)
    rows: tuple[Entry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _as_many_values_as_columns(self) -> "Leaderboard":
        for row in self.rows:
            if len(row.values) != len(self.columns) or len(row.spread) not in (0, len(self.columns)):
                raise ValueError(
                    f"leaderboard: {row.name} has {len(row.values)} values for {len(self.columns)} columns"
                )
        return self
