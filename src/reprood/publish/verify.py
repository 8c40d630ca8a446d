"""Check a published release without trusting who made it: no torch, no GPU, no network, no data.

Checksums and signature are checked first. Then the scores of detectors are recomputed from the stored logits, every
metric from predictions and scores, every verdict from these, and every table and page from those; the results are
compared with what the release states. A compact release holds scores and no logits: what follows from its files is
checked, and what only the archive can show is named, or checked there if the archive is given. A part is recomputed
only by the code that computed it, known by its fingerprint: other code may round, order or word things differently.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2
import pyarrow as pa

from reprood.core.errors import ReproodError
from reprood.core.files import read_json, sha256_file
from reprood.publish.archive import ARCHIVE, read_archive, wrong_archive
from reprood.publish.checks import Check, Verification
from reprood.publish.contents import CODE, METADATA, Paths, fingerprints
from reprood.publish.own import own_detectors
from reprood.publish.recompute import Found, NotChecked, Step, full_checks
from reprood.publish.recompute_compact import ARCHIVED, compact_checks, compact_of
from reprood.publish.seal import check_signature, differences, read_sums, sums_of
from reprood.publish.unpack import opened

# Exceptions that reading a damaged or hostile release may raise; the check then fails.
UNREADABLE = (
    ReproodError, OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError,
    MemoryError, AssertionError, pa.ArrowException, jinja2.TemplateError,
)  # fmt: skip
REVISION = re.compile(r"[0-9a-f]{7,40}")
OTHER_CODE = "computed by other code than this"
NAMED = "the archive is the one that the release names"
FOLLOWS = "the compact form follows from the archive"
OWN_CODE = "needs the release's own detectors ({files}), code of its author; read it, then give --own-detectors"


def verify(
    path: Path,
    signers: Path | None = None,
    log: Callable[[str], None] = lambda line: None,
    *,
    run_own: bool = False,
    archive: Path | None = None,
) -> Verification:
    """Check a release; what cannot even be read counts as not holding.

    Parameters
    ----------
    path : Path
        Its folder or zip archive.
    signers : Path, optional
        An `allowed_signers` file (ssh-keygen(1)) of those whose signature is trusted.
    log : callable
        Called with the text of each check when it is done.
    run_own : bool
        Run detectors that the release holds as files of its author.
    archive : Path, optional
        The archive that a compact release names: it is checked as well, and that the compact form follows from it.

    Raises
    ------
    ReproodError
        When an archive is given for a release that names none.
    """
    made = _Checks(log, _Code(run_own))
    with opened(path) as folder:
        made.code.read(folder)
        compact = (folder / ARCHIVE).is_file()
        if archive is not None and not compact:
            raise ReproodError(f"{path} is a full release, which names no archive; leave out --archive.")
        made.add(_checked("files are those that were listed", lambda: _files(folder)))
        made.add(_signature(folder, signers))
        made.add(_checked("description lists the files", lambda: _description(folder)))
        if compact:
            with compact_checks(folder) as steps:
                made.recompute(steps)
            _check_archive(made, folder, archive, signers)
        else:
            made.recompute(full_checks(folder))
    return made.result()


class _Code:
    """Which checks this code can make of a release."""

    def __init__(self, run_own: bool) -> None:
        self.run_own = run_own
        self.here, self.stated = fingerprints(), dict[str, Any]()
        self.own: list[str] = []

    def read(self, folder: Path) -> None:
        """Read what code made a release, and which detectors of its author it holds."""
        self.stated, self.own = _stated_code(folder), _own_files(Paths(folder))

    @property
    def revision(self) -> str:
        """The code revision that the release states; "" when it states none."""
        revision = str(self.stated.get("revision") or "")
        return revision if REVISION.fullmatch(revision) else ""


class _Checks:
    """The checks that were made, and how many were not."""

    def __init__(self, log: Callable[[str], None], code: _Code) -> None:
        self.log, self.code = log, code
        self.checks: list[Check] = []
        self.skipped = self.own_code = self.archived = 0

    def add(self, check: Check) -> None:
        """Keep and print a check."""
        self.checks.append(check)
        self.log(str(check))

    def recompute(self, steps: Sequence[Step]) -> None:
        """Make the checks that this code can make; each names the parts of the code that it depends on."""
        for name, parts, step in steps:
            if self.code.own and not self.code.run_own and "scores" in parts:
                self.own_code += 1
                self.add(Check(name, None, (OWN_CODE.format(files=", ".join(self.code.own)),)))
            elif all(self.code.stated.get(part) == self.code.here[part] for part in parts):
                self.add(_checked(name, step))
            else:
                self.skipped += 1
                self.add(Check(name, None, (OTHER_CODE,)))

    def result(self) -> Verification:
        """Return all checks."""
        return Verification(tuple(self.checks), self.skipped, self.code.revision, self.own_code, self.archived)


def _check_archive(made: _Checks, folder: Path, archive: Path | None, signers: Path | None) -> None:
    """Check the archive of a compact release, or name what only it can show."""
    try:
        stated = read_archive(folder)
        assert stated is not None
    except UNREADABLE as error:
        made.add(Check(NAMED, False, (str(error),)))
        return
    if archive is None:
        where = f" ({stated.url})" if stated.url else ""
        made.archived = len(ARCHIVED)
        for name in ARCHIVED:
            made.add(Check(name, None, (f"in the archive {stated.name}{where}; give --archive",)))
        return
    made.add(_checked(NAMED, lambda: (1, wrong_archive(archive, stated))))
    if made.checks[-1].holds is False:
        return  # another file says nothing of this release
    with opened(archive) as full:
        made.recompute([(FOLLOWS, ("suite", "compact"), lambda: compact_of(full, folder, stated))])
    inner = verify(archive, signers, run_own=made.code.run_own)
    for check in inner.checks:
        made.add(replace(check, name=f"archive: {check.name}"))
    made.skipped, made.own_code = made.skipped + inner.skipped, made.own_code + inner.own_code


def _own_files(paths: Paths) -> list[str]:
    """Return the files with own detectors that the suite of a release names; none when it cannot be read."""
    try:
        return sorted(set(own_detectors(paths.suite()[1]).values()))
    except UNREADABLE:
        return []  # every check then fails for this reason


def _stated_code(folder: Path) -> dict[str, Any]:
    """Return the revision and fingerprints of the code that made a release; empty when they cannot be read."""
    try:
        stated = read_json(folder / CODE)
    except UNREADABLE:
        return {}  # every part then counts as computed by other code
    return stated if isinstance(stated, dict) else {}


def _checked(name: str, step: Callable[[], Found]) -> Check:
    """Make a check; one that looked at nothing does not hold."""
    try:
        count, details = step()
    except NotChecked as reason:
        return Check(name, None, (str(reason),))
    except UNREADABLE as error:
        count, details = None, [str(error) if isinstance(error, ReproodError) else f"{type(error).__name__}: {error}"]
    if count == 0 and not details:
        details = ["there was nothing to check"]
    return Check(name, not details, tuple(details), count)


# --- the checks


def _signature(folder: Path, signers: Path | None) -> Check:
    try:
        holds, text = check_signature(folder, signers)
    except UNREADABLE as error:
        holds, text = False, str(error)
    return Check("signature", holds, (text,))


def _files(folder: Path) -> Found:
    stated, present = read_sums(folder), sums_of(folder)
    wrong = differences(stated, present)
    changed = [name for name in stated if name in present and present[name] != stated[name]]
    ends = [name for name in changed if _with_line_feeds(folder / name) == stated[name]]
    if ends:
        wrong.insert(0, f"{len(ends)} files have other line ends: git rewrote them; clone with -c core.autocrlf=false")
    return len(stated), wrong


def _with_line_feeds(path: Path) -> str:
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def _description(folder: Path) -> Found:
    graph = read_json(folder / METADATA)["@graph"]
    entities = {entity["@id"]: entity for entity in graph}
    parts = [part["@id"] for part in entities["./"]["hasPart"]]
    outside = [name for name in parts if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if outside:
        return len(parts), [f"{name} leads outside the release" for name in outside]
    wrong = [f"{name} is described and missing" for name in parts if not (folder / name).is_file()]
    for name in parts:
        digest = entities.get(name, {}).get("sha256")
        if (folder / name).is_file() and digest != sha256_file(folder / name):
            wrong.append(f"{name} is not the file that is described")
    listed = set(read_sums(folder)) - {METADATA} - set(parts)
    wrong += [f"{name} is not described" for name in sorted(listed)]
    return len(parts), wrong
