"""A copy of the checkout in which the suite `smoke` runs, fails, and is repaired as its messages say."""

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from checkout import Checkout
from digests import FOLDERS, differences, digests, page_digests, rendered_pages
from processes import wait_for_orphans

STATE = (*FOLDERS, "logs", "state", ".snakemake")
ATTEMPTS = 6  # how often the command is repeated while messages give advice


@dataclass(frozen=True)
class Outcome:
    """Exit status and output of a command."""

    status: int
    text: str

    @property
    def messages(self) -> list[str]:
        """The error messages of reprood in the output."""
        return [line for line in self.text.splitlines() if "error: " in line]

    @property
    def has_traceback(self) -> bool:
        """Whether a traceback reached the user."""
        return "Traceback (most recent call last)" in self.text


@dataclass
class Tally:
    """Results of one kind of fault.

    Attributes
    ----------
    fault : str
    times : int
        Number of faults caused.
    resumed : int
        Number of times the same command succeeded without any repair.
    repaired : int
        Number of times it succeeded after the commands printed by Snakemake or reprood had been run.
    losses : list of str
        Wrong bits, missing messages, commands that did not succeed. Every entry is a test failure.
    note : str
        Why the fault was skipped, for example.
    """

    fault: str
    times: int = 0
    resumed: int = 0
    repaired: int = 0
    losses: list[str] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class Reference:
    """A finished run without faults: its folder, the digests of its files and of its pages."""

    folder: Path
    files: dict[str, str]
    pages: dict[str, str]


class Workspace:
    """Runs the documented command in a folder of its own."""

    def __init__(self, folder: Path, cores: int, *, fill: bool = True) -> None:
        self.checkout = Checkout(folder, fill=fill)
        self.folder = folder
        self.cores = cores
        self.env = {**self.checkout.env, "TMPDIR": str(folder.parent / "tmp")}
        (folder.parent / "tmp").mkdir(exist_ok=True)
        self.output = folder.parent / f"{folder.name}.output"

    @classmethod
    def copy(cls, reference: Reference, folder: Path, cores: int) -> "Workspace":
        """Return a workspace in which everything has been run."""
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["cp", "-a", str(reference.folder), str(folder)], check=True)
        return cls(folder, cores, fill=False)

    def clear(self) -> None:
        """Remove every result, as after `git clone`."""
        for name in STATE:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def find(self, pattern: str) -> Path:
        """Return the only file that matches a pattern, relative to the workspace."""
        (path,) = self.folder.glob(pattern)
        return path.relative_to(self.folder)

    def command(self, *arguments: str, settings: tuple[str, ...] = ()) -> list[str]:
        """Return the documented command."""
        return ["snakemake", "--cores", str(self.cores), *arguments, "--config", "suite=smoke", *settings]

    def start(self, *arguments: str, settings: tuple[str, ...] = ()) -> subprocess.Popen:
        """Start the documented command as the leader of its own process group."""
        with open(self.output, "wb") as stream:
            return subprocess.Popen(
                self.command(*arguments, settings=settings), cwd=self.folder, env=self.env, stdout=stream,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def end(self, process: subprocess.Popen, timeout: float = 1200) -> Outcome:
        """Wait for a command; one that hangs is killed and gets the status -99."""
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return Outcome(-99, f"error: no end after {timeout:.0f} s\n" + self.output.read_text(errors="replace"))
        return Outcome(process.returncode, self.output.read_text(errors="replace"))

    def run(self, *arguments: str, settings: tuple[str, ...] = ()) -> Outcome:
        """Run the documented command to its end."""
        return self.end(self.start(*arguments, settings=settings))

    def shell(self, command: str) -> Outcome:
        """Run a shell command in the workspace."""
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=self.env, executable="/bin/bash", stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout)

    def follow_advice(self, outcome: Outcome) -> list[str]:
        """Do what the messages of a failed command say, and nothing else; return what was done."""
        done = []
        if "--unlock" in outcome.text:
            self.shell("snakemake --unlock --config suite=smoke")
            done.append("snakemake --unlock")
        for command in sorted(set(re.findall(r"`(snakemake [^`]*--touch[^`]*)`", outcome.text))):
            self.shell(f"{command} --config suite=smoke")
            done.append(command)
        for command in sorted(set(re.findall(r"`(reprood [a-z ]*--remove)`", outcome.text))):
            self.shell(command)
            done.append(command)
        for line in outcome.messages:
            if re.search(r"\b(remove|delete)\b", line, re.IGNORECASE):
                done += self._remove_named(line)
            if "Another process is training" in line:
                done.append("wait for the other training")
                wait_for_orphans(self.folder, 300)
        return done

    def _remove_named(self, line: str) -> list[str]:
        """Remove the files that a message names; with a damaged list of checksums, the files that it lists, too."""
        removed = []
        for name in re.findall(r"(?:data|runs|results|reports|state|\.snakemake)/[^\s,;:'`]+", line):
            path = self.folder / name
            if path.name == "SHA256SUMS" and ", line " in line:
                shutil.rmtree(path.parent, ignore_errors=True)
            elif path.is_file() and path.name != "SHA256SUMS":
                path.unlink()
            else:
                continue
            removed.append(f"remove {name}")
        return removed

    def compare(self, reference: Reference) -> list[str]:
        """Return the differences between this finished workspace and the reference."""
        found = differences(reference.files, digests(self.folder))
        if not found:
            scratch = self.folder.parent / "rendered"
            found = differences(reference.pages, rendered_pages(self.folder, reference.folder, self.env, scratch))
            own = rendered_pages(self.folder, self.folder, self.env, scratch)
            found += [f"{line} (in place)" for line in differences(own, page_digests(self.folder))]
        if found:  # kept for inspection
            kept = self.folder.parent / f"different-{len(list(self.folder.parent.glob('different-*')))}"
            shutil.copytree(self.folder, kept, symlinks=True)
            found.append(f"see {kept}")
        return found

    def recover(self, tally: Tally, reference: Reference, *arguments: str, followed: bool = False) -> bool:
        """Repeat the command, following the printed advice, until it succeeds; then compare with the reference.

        Parameters
        ----------
        tally : Tally
            Gets the result: resumed, repaired or a loss.
        reference : Reference
        arguments : str
            Of Snakemake.
        followed : bool
            Whether advice has been followed already.
        """
        for _ in range(ATTEMPTS):
            outcome = self.run(*arguments)
            if outcome.status == 0:
                break
            if outcome.has_traceback:
                tally.losses.append(f"a traceback: {summary(outcome)}")
            advice = self.follow_advice(outcome)
            if not advice:
                tally.losses.append(f"the command ended with {outcome.status} and no advice: {summary(outcome)}")
                return False
            followed = True
        else:
            tally.losses.append(f"the command still fails after its advice was followed: {summary(outcome)}")
            return False
        wrong = self.compare(reference)
        tally.losses += wrong
        tally.resumed += not wrong and not followed
        tally.repaired += not wrong and followed
        return not wrong


def summary(outcome: Outcome) -> str:
    """Return the last error messages of a command."""
    lines = outcome.messages or [line for line in outcome.text.splitlines() if re.search(r"Error|Exception", line)]
    return " | ".join(line.strip() for line in (lines or outcome.text.splitlines())[-2:])[:400]


def reference_of(folder: Path, cores: int) -> Reference:
    """Return the reference of a finished checkout."""
    place = Workspace(folder, cores, fill=False)
    return Reference(folder, digests(folder), rendered_pages(folder, folder, place.env, folder.parent / "rendered"))


def table(tallies: list[Tally]) -> str:
    """Return the results as a Markdown table."""
    lines = ["| fault | times | resumed | repaired as printed | losses |", "|---|---:|---:|---:|---:|"]
    for tally in tallies:
        note = f" ({tally.note})" if tally.note else ""
        counts = f"{tally.times} | {tally.resumed} | {tally.repaired} | {len(tally.losses)}"
        lines.append(f"| {tally.fault}{note} | {counts} |")
    sums = [sum(getattr(tally, name) for tally in tallies) for name in ("times", "resumed", "repaired")]
    return "\n".join([*lines, f"| all | {sums[0]} | {sums[1]} | {sums[2]} | {sum(len(t.losses) for t in tallies)} |"])
