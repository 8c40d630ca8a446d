"""What is worth a look in a user's own data. It is printed and changes no result: no fingerprint covers it."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from reprood.core.files import read_json, sha256_file
from reprood.data.archives import is_image
from reprood.data.arrays import Split
from reprood.data.own import visible_files


def equal_images(folder: Path) -> str:
    """Return a sentence about the images of a folder that are copies of another one under a different name; "" if none.

    Only files of equal size are read. Pictures that were saved again with other bytes are not found here: the linter
    compares them after preparation.
    """
    by_size: defaultdict[int, list[tuple[str, Path]]] = defaultdict(list)
    count = 0
    for name, path in visible_files(folder):
        if is_image(name):
            by_size[path.stat().st_size].append((name, path))
            count += 1
    first: dict[str, str] = {}
    copies: list[tuple[str, str]] = []
    for name, path in sorted(file for files in by_size.values() if len(files) > 1 for file in files):
        other = first.setdefault(sha256_file(path), name)
        if other != name:
            copies.append((name, other))
    if not copies:
        return ""
    folders = sum(Path(name).parent != Path(other).parent for name, other in copies)
    across = f", {folders} of them from another folder" if folders else ""
    return (
        f"{len(copies)} of {count} images in {folder} are copies of another one{across}; the first is {copies[0][0]}, "
        f"a copy of {copies[0][1]}"
    )


def copies_in(name: str, split: Split) -> str:
    """Return a sentence about the images of a benchmark's split that are copies of an earlier one; "" if none."""
    seen: dict[bytes, int] = {}
    copies = []
    for row, image in enumerate(split.images):
        first = seen.setdefault(hashlib.blake2b(image.tobytes(), digest_size=16).digest(), row)
        if first != row:
            copies.append((row, first))
    if not copies:
        return ""
    rows = split.extras.get("row")
    row, first = copies[0] if rows is None else (int(rows[copies[0][0]]), int(rows[copies[0][1]]))
    found = f"{len(copies)} images are copies of an earlier one"
    return f"split {name}: {found}; the first is row {row}, a copy of row {first}"


def known_names(trained: Sequence[str], splits: Mapping[str, Split], data: Path) -> list[str]:
    """Return a sentence for each OOD or auxiliary split with images of a class that has the name of a known class.

    Parameters
    ----------
    trained : sequence of str
        Names of the classes of the training split.
    splits : mapping
        The prepared OOD and auxiliary splits.
    data : Path
        Folder of the data sets, whose records hold the names of their classes. Classes named by their number are not
        compared.
    """
    notes: list[str] = []
    if _numbered(trained):
        return notes
    known = {name.casefold() for name in trained}
    for split, images in splits.items():
        record = data / str(images.meta.get("name")) / str(images.meta.get("split")) / "meta.json"
        names = list(read_json(record).get("classes") or []) if record.is_file() else []
        if _numbered(names) or "source_label" not in images.extras:
            continue
        labels = np.asarray(images.extras["source_label"])
        shared = [number for number, name in enumerate(names) if str(name).casefold() in known]
        count = int(np.isin(labels, shared).sum())
        if count:
            first = names[int(labels[np.isin(labels, shared)][0])]
            notes.append(
                f"split {split}: {count} of {len(labels)} images are of a class with the name of a known class, first "
                f"'{first}'; leave these classes out ('classes'), unless the name means something else"
            )
    return notes


def _numbered(names: Sequence[str]) -> bool:
    return list(map(str, names)) == [str(number) for number in range(len(names))]
