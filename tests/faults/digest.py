"""What is promised to be the same in every run, and how two finished workplaces are compared."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

FOLDERS = ("data", "runs", "results", "reports")
TIMED = ("run.json", "SHA256SUMS")  # hold the seconds that a training took, or digests of such files
PAGES = (".html",)  # outside reports/notebooks they show these seconds: compared after a rendering with the same ones


def sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_page(name: str) -> bool:
    return name.startswith("reports/") and name.endswith(PAGES) and not name.startswith("reports/notebooks/")


def digest(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of every result but those that hold times and the study of times."""
    found = {}
    for part in FOLDERS:
        for path in sorted((folder / part).rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and path.name not in TIMED and not is_page(name) and "inference_time" not in name:
                found[name] = sha256(path)
    return found


def differences(reference: dict[str, str], found: dict[str, str]) -> list[str]:
    lines = [f"{name}: missing" for name in reference if name not in found]
    lines += [f"{name}: other bytes" for name in found if name in reference and found[name] != reference[name]]
    return lines + [f"{name}: should not be there" for name in found if name not in reference]


def wrong_so_far(reference: dict[str, str], folder: Path) -> list[str]:
    """Files of an unfinished run that are not what the finished one has: a name means a whole, right file.

    Hidden names are temporary ones, which nothing reads.
    """
    found = {name: value for name, value in digest(folder).items() if not Path(name).name.startswith(".")}
    return [line for line in differences(reference, found) if not line.endswith("missing")]


def pages(folder: Path, times_of: Path, environment: dict[str, str], scratch: Path) -> dict[str, str]:
    """The pages of a finished workplace, rendered from its results with the times of another one."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for part in ("data", "config", "results"):
        (scratch / part).symlink_to(folder / part)
    shutil.copytree(folder / "runs", scratch / "runs", ignore=shutil.ignore_patterns("SHA256SUMS", "run.json"))
    for path in (times_of / "runs").rglob("run.json"):
        shutil.copyfile(path, scratch / path.relative_to(times_of))
    (scratch / "reports").mkdir()
    (scratch / "reports" / "figures").symlink_to(folder / "reports" / "figures")
    subprocess.run(
        command_of(folder, "reports/index.html"), shell=True, cwd=scratch, env=environment, check=True,
        stdout=subprocess.DEVNULL, executable="/bin/bash",
    )  # fmt: skip
    found = {p.relative_to(scratch).as_posix(): sha256(p) for p in sorted((scratch / "reports").rglob("*.html"))}
    shutil.rmtree(scratch)
    return found


def command_of(folder: Path, output: str) -> str:
    """The command that made a file, as Snakemake recorded it, without its log."""
    import base64

    encoded = base64.urlsafe_b64encode(output.encode()).decode()
    size = os.pathconf(folder, "PC_NAME_MAX") - 1
    parts = [encoded[i : i + size] for i in range(0, len(encoded), size)]
    path = folder.joinpath(".snakemake", "metadata", *(f"@{part}" for part in parts[:-1]), parts[-1])
    command = str(json.loads(path.read_text())["shellcmd"])
    return command.rpartition(" > ")[0]
