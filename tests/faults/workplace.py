"""A copy of the checkout in which the suite `smoke` runs, fails, and is asked for again."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from checkout import Checkout
from digest import FOLDERS, differences, digest, pages

STATE = (*FOLDERS, "logs", "state", ".snakemake")


@dataclass(frozen=True)
class End:
    """How a command ended: its status and all that it said."""

    status: int
    text: str

    @property
    def sentences(self) -> list[str]:
        """The lines in which the project tells what is wrong."""
        return [line for line in self.text.splitlines() if "error: " in line]

    @property
    def defect(self) -> bool:
        """A traceback of the project's own code reached the user."""
        return "Traceback (most recent call last)" in self.text


@dataclass
class Count:
    """What came of one kind of fault.

    Attributes
    ----------
    fault : str
    times : int
        How often it was brought about.
    healed : int
        How often the same command went on by itself.
    said : int
        How often a sentence said what to do, and it was done.
    losses : list of str
        What was lost, wrong or unclear: every one is a failure of the harness.
    note : str
    """

    fault: str
    times: int = 0
    healed: int = 0
    said: int = 0
    losses: list[str] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class Reference:
    """A run without faults: where it lies, its digests, its pages."""

    folder: Path
    files: dict[str, str]
    pages: dict[str, str]


class Workplace:
    """Runs the documented command in a folder of its own."""

    def __init__(self, folder: Path, cores: int, *, fill: bool = True) -> None:
        self.checkout = Checkout(folder, fill=fill)
        self.folder = folder
        self.cores = cores
        self.env = {**self.checkout.env, "TMPDIR": str(folder.parent / "tmp")}
        (folder.parent / "tmp").mkdir(exist_ok=True)
        self.output = folder.parent / f"{folder.name}.output"

    @classmethod
    def copy(cls, reference: Reference, folder: Path, cores: int) -> "Workplace":
        """A finished one."""
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["cp", "-a", str(reference.folder), str(folder)], check=True)
        return cls(folder, cores, fill=False)

    def clear(self) -> None:
        """As after `git clone`."""
        for name in STATE:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def command(self, *arguments: str, settings: tuple[str, ...] = ()) -> list[str]:
        return ["snakemake", "--cores", str(self.cores), *arguments, "--config", "suite=smoke", *settings]

    def start(self, *arguments: str, settings: tuple[str, ...] = (), wrap: tuple[str, ...] = ()) -> subprocess.Popen:
        """Start the documented command as the head of a process group of its own."""
        with open(self.output, "wb") as stream:
            return subprocess.Popen(
                [*wrap, *self.command(*arguments, settings=settings)], cwd=self.folder, env=self.env, stdout=stream,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def end(self, process: subprocess.Popen, timeout: float = 1200) -> End:
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return End(-99, f"error: it hung for {timeout:.0f} s\n" + self.output.read_text(errors="replace"))
        return End(process.returncode, self.output.read_text(errors="replace"))

    def run(self, *arguments: str, settings: tuple[str, ...] = (), wrap: tuple[str, ...] = ()) -> End:
        return self.end(self.start(*arguments, settings=settings, wrap=wrap))

    def shell(self, command: str, **options) -> End:
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=self.env, executable="/bin/bash", stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", check=False, **options,
        )  # fmt: skip
        return End(done.returncode, done.stdout)

    def compare(self, reference: Reference) -> list[str]:
        """How this finished workplace differs from the reference."""
        found = differences(reference.files, digest(self.folder))
        if not found:
            rendered = pages(self.folder, reference.folder, self.env, self.folder.parent / "rendered")
            found = differences(reference.pages, rendered)
            own = pages(self.folder, self.folder, self.env, self.folder.parent / "rendered")
            lying = {name: value for name, value in page_digests(self.folder).items() if name in own}
            found += [f"{line} (as it lies)" for line in differences(own, lying)]
        if found:  # kept for whoever looks into it
            kept = self.folder.parent / f"different-{len(list(self.folder.parent.glob('different-*')))}"
            shutil.copytree(self.folder, kept, symlinks=True)
            found.append(f"see {kept}")
        return found

    def must_end_well(self, count: Count, reference: Reference, *arguments: str) -> bool:
        """The same command again: status 0 and the same bits; whatever else is a loss."""
        end = self.run(*arguments)
        if end.status:
            count.losses.append(f"the same command ended with {end.status}: {last_words(end)}")
            return False
        wrong = self.compare(reference)
        count.losses += wrong
        return not wrong


def page_digests(folder: Path) -> dict[str, str]:
    from digest import sha256

    return {p.relative_to(folder).as_posix(): sha256(p) for p in sorted((folder / "reports").rglob("*.html"))}


def last_words(end: End) -> str:
    lines = end.sentences or [line for line in end.text.splitlines() if re.search(r"Error|Exception", line)]
    return " | ".join(line.strip() for line in (lines or end.text.splitlines())[-2:])[:400]


def make_reference(folder: Path, cores: int) -> Reference:
    """Run the suite without a fault (or take one that lies there already)."""
    done = folder / ".done"
    place = Workplace(folder, cores, fill=not done.exists())
    if not done.exists():
        begun = time.monotonic()
        end = place.run()
        if end.status:
            raise SystemExit(f"The reference run failed: {last_words(end)}")
        done.write_text(f"{time.monotonic() - begun:.0f} s\n")
    return Reference(folder, digest(folder), pages(folder, folder, place.env, folder.parent / "rendered"))
