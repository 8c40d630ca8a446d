"""What the project stands on: a lock with hashes and without addresses, its licences, and advisories about it.

Nothing here asks a network. Vulnerabilities are looked up in a file of advisories (OSV, https://ossf.github.io/osv-schema)
that is given; without one nothing is said about them.
"""

import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

from packaging.markers import InvalidMarker, Marker
from packaging.version import InvalidVersion, Version

from reprood.core.errors import ReproodError
from reprood.publish.bill import licence_of, locked

DIGEST = re.compile(r"^\s+--hash=sha256:[0-9a-f]{64}(\s*\\)?$")
PINNED = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*(\[[A-Za-z0-9_,.-]+\])?==[^\s;\\@]+(\s*;\s*[^\\]+?)?\s*\\$")
LARGEST = 64 << 20  # bytes of one file of advisories

KINDS = ("permissive", "weak copyleft", "copyleft", "proprietary", "unknown")
_SIGNS = (
    ("proprietary", re.compile(r"proprietary", re.IGNORECASE)),
    ("weak copyleft", re.compile(
        r"\bLGPL|Lesser General Public|\bMPL|Mozilla|\bEPL|linking exception", re.IGNORECASE)),
    ("copyleft", re.compile(r"\bA?GPL|General Public License", re.IGNORECASE)),
    ("permissive", re.compile(
        r"\bMIT|\bBSD|\b0BSD|Apache|\bISC\b|\bPSF|Python Software Foundation|\bZlib|\bCC0|\bBSL|Public Domain|\bHPND|"
        r"Unlicense|Zope|\bZPL", re.IGNORECASE)),
)  # fmt: skip


@dataclass(frozen=True)
class Package:
    """A locked package and its licence.

    Attributes
    ----------
    name, version, marker : str
        As the lock has them.
    licence : str
        As the package states it (an SPDX expression where it gives one); "" when it states none.
    kind : str
        One of `KINDS`; of alternatives ("OR") the freest, of several ("AND") the strictest.
    """

    name: str
    version: str
    marker: str
    licence: str
    kind: str


def check_lock(text: str) -> list[str]:
    """What is wrong with a `requirements.lock`, a sentence each: every package pinned, with hashes, no address."""
    wrong: list[str] = []
    pinned: dict[tuple[str, str], int] = {}
    name, hashes = "", 1
    for number, line in enumerate([*text.splitlines(), "#"], 1):
        if DIGEST.match(line):
            hashes += 1
            continue
        if not hashes:
            wrong.append(f"{name} has no hash; make the lock anew (make lock).")
        hashes = 1
        if not line.strip() or line.startswith("#"):
            continue
        if not PINNED.match(line):
            wrong.append(f"line {number} is {line.strip()[:60]!r}; expected 'name==version \\' and hashes, no address.")
            continue
        name, hashes = line.split("==")[0].strip(), 0
        key = re.sub(r"[-_.]+", "-", name.lower()), line.partition(";")[2].strip(" \\")
        if key in pinned:
            wrong.append(f"{name} is named in the lines {pinned[key]} and {number}; make the lock anew.")
        pinned[key] = number
    if not pinned:
        wrong.append("no package is locked; make the lock anew (make lock).")
    return wrong


def applies(marker: str) -> bool:
    """Whether a package is for this Python and platform."""
    try:
        return not marker or Marker(marker).evaluate()
    except InvalidMarker:
        return True


def check_environment(lock: str) -> list[str]:
    """Where the installed packages are not those of the lock, a sentence each."""
    wrong = []
    for package in locked(lock):
        if not applies(package["marker"]):
            continue
        try:
            found = version(package["name"])
        except PackageNotFoundError:
            wrong.append(f"{package['name']} {package['version']} is locked and not installed; run make environment.")
            continue
        if found.split("+")[0] != package["version"].split("+")[0]:
            wrong.append(f"{package['name']} is {found}, the lock says {package['version']}; run make environment.")
    return wrong


def kind_of(licence: str) -> str:
    """What a licence asks for; of alternatives the freest, of several the strictest."""
    if not licence:
        return "unknown"
    alternatives = [_strictest(part) for part in re.split(r"\s+OR\s+", licence.replace("(", " ").replace(")", " "))]
    if " AND " not in licence:
        return min(alternatives, key=KINDS.index)
    return _strictest(licence) if " OR " not in licence else max(alternatives, key=KINDS.index)


def _strictest(text: str) -> str:
    found = []
    for part in re.split(r"\s+AND\s+", text):
        found.append(next((kind for kind, sign in _SIGNS if sign.search(part)), "unknown"))
    known = [kind for kind in found if kind != "unknown"]
    return max(known, key=KINDS.index) if known else "unknown"


def _stated(name: str) -> str:
    """The licence from the metadata, else from the heading of the licence file that the package brings."""
    licence = licence_of(name)
    if licence and licence != "OSI Approved":
        return licence
    try:
        installed: Any = distribution(name)
    except PackageNotFoundError:
        return ""
    short = str(installed.metadata.get("License") or "")
    if 0 < len(short) <= 60 and short.isprintable():
        return short
    files = installed.files or []
    for file in files:
        if re.match(r"(LICEN[CS]E|COPYING)", file.name, re.IGNORECASE):
            path = Path(str(file.locate()))
            head = path.read_text(encoding="utf-8", errors="replace")[:400] if path.is_file() else ""
            for heading in ("MIT License", "Apache License", "BSD 3-Clause License", "BSD 2-Clause License"):
                if heading in head:
                    return f"{heading} (its licence file)"
    return ""


def licences(lock: str) -> list[Package]:
    """Every locked package with the licence of the installed one."""
    found = []
    for package in locked(lock):
        licence = _stated(package["name"])
        found.append(Package(package["name"], package["version"], package["marker"], licence, kind_of(licence)))
    return found


def page(packages: Sequence[Package]) -> str:
    """The list of licences as Markdown."""
    counts = {kind: sum(package.kind == kind for package in packages) for kind in KINDS}
    lines = [
        "# Licences of the locked packages",
        "",
        "Made by `reprood supply --licences docs/licences.md` from `requirements.lock` and what the installed packages",
        "say of themselves; packages for other platforms are not installed and say nothing. The kind is read off the",
        "licence's name and is no legal advice. reprood itself is Apache-2.0, imports these packages and distributes",
        "none of them.",
        "",
        ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) + f"; {len(packages)} in all.",
        "",
        "## To be looked at",
        "",
        *_rows(package for package in packages if package.kind != "permissive"),
        "",
        "## All",
        "",
        *_rows(packages),
    ]
    return "\n".join([*lines, ""])


def _rows(packages: Iterable[Package]) -> list[str]:
    rows = ["| package | version | licence | kind | only where |", "|---|---|---|---|---|"]
    for one in packages:
        cells = (one.name, one.version, one.licence or "not stated", one.kind, one.marker)
        rows.append("| " + " | ".join(cell.replace("|", r"\|").replace("<", "&lt;") for cell in cells) + " |")
    return rows


# --- advisories ---


def read_advisories(path: Path) -> list[dict[str, Any]]:
    """Advisories in OSV form: a JSON file (one, a list, or `{"vulns": [...]}`), or a folder or zip archive of them.

    Raises
    ------
    ReproodError
        When there is none, or a file is no advisory.
    """
    if not path.exists():
        raise ReproodError(f"{path} does not exist; give a file, folder or zip archive of advisories in OSV form.")
    found: list[dict[str, Any]] = []
    for name, text in _texts(path):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ReproodError(f"{name} is not valid JSON ({error}); expected advisories in OSV form.") from error
        many = value.get("vulns", [value]) if isinstance(value, dict) else value
        for one in many if isinstance(many, list) else [many]:
            if (
                not isinstance(one, dict)
                or not isinstance(one.get("id"), str)
                or not isinstance(one.get("affected"), list)
            ):
                raise ReproodError(f"{name} is no advisory in OSV form (it lacks 'id' or 'affected').")
            found.append(one)
    if not found:
        raise ReproodError(f"{path} holds no advisories; nothing can be said about vulnerabilities.")
    return found


def _texts(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.glob("*.json")):
            yield str(file), file.read_bytes()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for item in archive.infolist():
                if item.filename.endswith(".json"):
                    if item.file_size > LARGEST:
                        raise ReproodError(f"{path}: {item.filename} is too large for an advisory; it is not read.")
                    yield f"{path}: {item.filename}", archive.read(item)
    else:
        yield str(path), path.read_bytes()


def _normal(name: object) -> str:
    return re.sub(r"[-_.]+", "-", str(name).lower())


def _hit(number: Version, affected: Mapping[str, Any]) -> bool:
    """Whether a version is among those affected: listed, or in a range of events."""
    listed = affected.get("versions") or []
    if str(number) in listed or any(_version(text) == number for text in listed):
        return True
    for spread in affected.get("ranges") or []:
        inside = False
        for event in sorted(
            spread.get("events") or [], key=lambda e: _version(next(iter(e.values()), "0")) or Version("0")
        ):
            for kind, text in event.items():
                place = Version("0") if text == "0" else _version(text)
                if place is None:
                    continue
                if kind == "introduced" and number >= place:
                    inside = True
                elif (kind == "fixed" and number >= place) or (kind == "last_affected" and number > place):
                    inside = False
        if inside and spread.get("type") == "ECOSYSTEM":
            return True
    return False


def _place(event: Mapping[str, Any]) -> Version:
    return _version(next(iter(event.values()), "0")) or Version("0")


def _version(text: object) -> Version | None:
    try:
        return Version(str(text))
    except InvalidVersion:
        return None


def vulnerable(lock: str, advisories: Iterable[Mapping[str, Any]]) -> list[str]:
    """Locked packages that an advisory names, a sentence each; withdrawn advisories are left out."""
    versions: dict[str, list[Version]] = {}
    for package in locked(lock):
        number = _version(package["version"])
        if number is not None:
            versions.setdefault(_normal(package["name"]), []).append(number)
    found = []
    for advisory in advisories:
        if advisory.get("withdrawn"):
            continue
        for affected in advisory["affected"]:
            package = affected.get("package") or {}
            if package.get("ecosystem") != "PyPI":
                continue
            name = _normal(package.get("name"))
            for number in versions.get(name, []):
                if _hit(number, affected):
                    names = ", ".join([advisory["id"], *map(str, advisory.get("aliases") or [])])
                    found.append(f"{name} {number}: {names}: {str(advisory.get('summary') or 'no summary')[:200]}")
    return sorted(set(found))
