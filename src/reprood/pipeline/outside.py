"""What a study reads outside of the workflow: photographs in folders of the user, and programs."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from reprood.core.errors import ReproodError
from reprood.data.own import content_of
from reprood.pipeline.streamed import listing_of


def outside_of(settings: Mapping[str, Any], work: Path, kept: Path) -> dict[str, Any]:
    """Return what a study finds outside of the workflow, so that a change re-runs it and it resumes from nothing older.

    Parameters
    ----------
    settings : mapping
        What the suite sets: `voc` or `coco`, whose folders are read; `meteor`, which needs Java.
    work : Path
        Folder in which jobs run.
    kept : Path
        Folder of the records of contents that were read before.

    Returns
    -------
    dict
        content: file or folder -> hash of the contents of lists and annotations, and of the names and sizes of images.
        meteor_is_available: whether METEOR can be computed. Each only if the study asks for it. Wrong settings and what
        cannot be read have no content here: the job reports why.
    """
    found: dict[str, Any] = {}
    if settings.get("voc") is not None or settings.get("coco") is not None:
        found["content"] = _content(settings, work, kept)
    if settings.get("meteor"):
        from reprood.evaluate.captions import meteor_is_available

        found["meteor_is_available"] = meteor_is_available()
    return found


def _content(settings: Mapping[str, Any], work: Path, kept: Path) -> dict[str, str]:
    from reprood.data.coco_captions import Coco
    from reprood.data.voc import Voc

    found: dict[str, str] = {}
    for record, key in ((Voc, "voc"), (Coco, "coco")):
        if settings.get(key) is None:
            continue
        with suppress(ValueError):  # wrong settings
            chosen = record.model_validate(settings[key])
            for name in (*chosen.images(), *chosen.described_by()):
                path = work / chosen.folder / name
                with suppress(ReproodError, OSError, ValueError):
                    found[f"{key}/{name}"] = listing_of(path) if name in chosen.images() else content_of(path, kept)
    return found
