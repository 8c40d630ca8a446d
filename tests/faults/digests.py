"""Digests of the results that must be equal in every run."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

FOLDERS = ("data", "runs", "results", "reports")
TIMED = ("run.json", "SHA256SUMS")  # hold durations, or digests of files that do
UNSTABLE = "inference_time"  # a study of durations


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_page(name: str) -> bool:
    """Return whether a file is a page of the report.

    Pages show durations, so they are compared after a rendering with the durations of the reference. Notebooks do not.
    """
    parts = Path(name).parts
    return parts[0] == "reports" and name.endswith(".html") and "notebooks" not in parts


def digests(folder: Path) -> dict[str, str]:
    """Return name -> SHA-256 of every result that holds no durations."""
    found = {}
    for part in FOLDERS:
        for path in sorted((folder / part).rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and path.name not in TIMED and not is_page(name) and UNSTABLE not in name:
                found[name] = sha256(path)
    return found


def page_digests(folder: Path) -> dict[str, str]:
    """Return name -> SHA-256 of the pages of the report."""
    names = [path.relative_to(folder).as_posix() for path in sorted((folder / "reports").rglob("*.html"))]
    return {name: sha256(folder / name) for name in names if is_page(name)}


def differences(expected: dict[str, str], actual: dict[str, str]) -> list[str]:
    """Return one line per file that is missing, different or superfluous."""
    lines = [f"{name}: missing" for name in expected if name not in actual]
    lines += [f"{name}: different bytes" for name in actual if name in expected and actual[name] != expected[name]]
    return lines + [f"{name}: should not exist" for name in actual if name not in expected]


def wrong_files(expected: dict[str, str], folder: Path) -> list[str]:
    """Return the files of an unfinished run that differ from those of the finished one.

    A result appears under its name only when it is complete. Hidden names are temporary files, which nothing reads.
    """
    visible = {name: value for name, value in digests(folder).items() if not Path(name).name.startswith(".")}
    return [line for line in differences(expected, visible) if not line.endswith("missing")]


def rendered_pages(folder: Path, times_of: Path, environment: dict[str, str], scratch: Path) -> dict[str, str]:
    """Render the pages of a finished workspace with the durations of another one; return their digests."""
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(folder, scratch, symlinks=True, ignore=shutil.ignore_patterns("SHA256SUMS", "src", "*.html"))
    for path in (times_of / "runs").rglob("run.json"):
        shutil.copyfile(path, scratch / path.relative_to(times_of))
    (index,) = (path.relative_to(folder) for path in (folder / "reports").rglob("index.html"))
    subprocess.run(
        command_of(folder, index.as_posix()), shell=True, cwd=scratch, env=environment, check=True,
        stdout=subprocess.DEVNULL, executable="/bin/bash",
    )  # fmt: skip
    found = page_digests(scratch)
    shutil.rmtree(scratch)
    return found


def command_of(folder: Path, output: str) -> str:
    """Return the command that wrote a file, as recorded by Snakemake, without the redirection to its log."""
    encoded = base64.urlsafe_b64encode(output.encode()).decode()
    size = os.pathconf(folder, "PC_NAME_MAX") - 1
    parts = [encoded[i : i + size] for i in range(0, len(encoded), size)]
    path = folder.joinpath(".snakemake", "metadata", *(f"@{part}" for part in parts[:-1]), parts[-1])
    command = str(json.loads(path.read_text())["shellcmd"])
    return command.rpartition(" > ")[0]
