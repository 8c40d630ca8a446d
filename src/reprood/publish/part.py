"""A release of a part of a suite: which part it is, stored so that anybody selects the same part again. No torch."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from reprood.audit.papers import Paper, judged_files, load_papers
from reprood.config.load import make_suite, read_suite
from reprood.config.selection import Selection
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.files import read_json
from reprood.core.messages import explain_validation
from reprood.pipeline.selection import select
from reprood.publish.contents import PART, Paths

KEYS = ("paper", "claims", "only", "seeds")


def part_record(selection: Selection, replicates: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return what a release stores of a selection, and the planned replicates of the suite that it selects from.

    Raises
    ------
    ReproodError
        For changed settings, which make another suite.
    """
    if selection.set:
        raise ReproodError(
            f"A release cannot hold changed settings ({selection.words}); write them as a suite of your own with "
            "'extends', and release that."
        )
    return {**selection.model_dump(mode="json", include=set(KEYS)), "replicates": replicates}


def stated_suite(paths: Paths) -> Suite:
    """Return the suite, or the part of it, that the suite's file and the stored selection of a release give.

    Raises
    ------
    ReproodError
        When a file is missing or wrong.
    """
    name, _ = paths.suite()
    path = paths.suite_file(name)
    if not path.is_file():
        raise ReproodError(f"{paths.name_of(path)} is missing.")
    whole = make_suite(read_suite(path, paths.root), path)
    if (paths.root / PART).is_file():
        record = read_json(paths.root / PART)
        try:
            selection = Selection.model_validate({key: record[key] for key in KEYS})
            planned = whole.with_replicates(record["replicates"]) if record["replicates"] else whole
        except ValidationError as error:
            raise ReproodError(explain_validation(error, PART)) from error
        except (KeyError, TypeError) as error:
            raise ReproodError(
                f"{PART} is not the record of a selection: {error!r}; build the release again."
            ) from error
        whole = select(planned, selection, paths.papers())
    return whole.model_copy(update={"name": name})


def judged_papers(paths: Paths, suite: Suite) -> list[Paper]:
    """Return the papers that a release judges: all, or those of its selection."""
    return load_papers(judged_files(paths.papers(), suite))
