"""Judge bad input: one message, a failure status, nothing executed, nothing written outside, bounded memory.

A case builds its input in a fresh folder and says what is done with it: the words of a command line, or a function.
While that runs, an audit hook of the interpreter notes every file that is opened for writing, every process that is
started, every connection and every class that a pickle names; address space is limited, and a test that hangs fails.
"""

import contextlib
import io
import os
import resource
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import reprood.cli.main
import reprood.predict.run
import reprood.report.draw  # and matplotlib makes its folders
import reprood.studies.run
import reprood.train.run  # before the hook: importing torch starts a program that lists libraries
from reprood.core.errors import ReproodError

ROOT = Path(__file__).parents[2]
MEMORY = 3 << 30  # bytes of address space that a case may take
LONGEST = 1500  # characters of a message
CANARY = "EXECUTED"
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MAKING = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
RUNNING = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pickle.find_class", "pty.spawn")


@dataclass(frozen=True)
class Act:
    """What is done with a bad input.

    Attributes
    ----------
    run : sequence of str or callable
        A command line without `reprood`, or a function.
    folder : Path
        Where it is done.
    out : Path or None
        What must not exist afterwards.
    network : bool
        Whether it may connect to this machine.
    programs : tuple of str
        Programs that it may start.
    """

    run: Sequence[str] | Callable[[], object]
    folder: Path
    out: Path | None = None
    network: bool = False
    programs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """A bad input.

    Attributes
    ----------
    kind, name : str
        Row of the table in docs/explanation/hostile-input.md; name of the test.
    build : callable
        Given the folder `inside`, makes the input and says what is done with it.
    words : tuple of str
        What the sentence must hold: the file, key or record that is wrong, and why.
    """

    kind: str
    name: str
    build: Callable[[Path], Act]
    words: tuple[str, ...]


@dataclass
class Watch:
    """What the audit hook saw."""

    allowed: tuple[str, ...]
    network: bool
    programs: tuple[str, ...]
    seen: list[str] = field(default_factory=list)

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = (isinstance(mode, str) and any(c in mode for c in "wax+")) or bool(
                isinstance(flags, int) and flags & WRITING
            )
            if writes and isinstance(path, str | bytes):
                self._inside(event, path)
        elif event in MAKING:
            for path in arguments[: 2 if event in ("os.rename", "os.link", "os.symlink") else 1]:
                if isinstance(path, str | bytes):
                    self._inside(event, path)
        elif event in RUNNING and not (event == "subprocess.Popen" and arguments[0] in self.programs):
            self.seen.append(f"{event} {arguments[:2]!r}"[:300])
        elif event == "socket.connect" and not (self.network and str(arguments[1]).startswith("('127.0.0.1'")):
            self.seen.append(f"{event} {arguments[1]!r}")

    def _inside(self, event: str, path: str | bytes) -> None:
        full = os.path.abspath(os.fsdecode(path))
        if not full.startswith(self.allowed):
            self.seen.append(f"{event} {full}")


_watching: Watch | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching is not None:
        _watching.note(event, arguments)


sys.addaudithook(_hook)


@dataclass(frozen=True)
class Outcome:
    """How it ended: status, text on standard error, what the hook saw."""

    status: int
    said: str
    seen: tuple[str, ...]


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """Limit the address space."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def perform(act: Act, box: Path) -> Outcome:
    """Do it as the command `reprood` would, in this process."""
    global _watching
    temporary = box / "temporary"
    temporary.mkdir(exist_ok=True)
    before = Path.cwd(), sys.argv, sys.dont_write_bytecode, tempfile.tempdir
    # for a command that runs in the checkout itself, nothing but the temporary folder may be written
    watch = Watch(tuple(f"{path}" for path in (box / "inside", temporary, "/dev/null")), act.network, act.programs)
    said = io.StringIO()
    status = 0
    try:
        os.chdir(act.folder)
        sys.dont_write_bytecode, tempfile.tempdir = True, str(temporary)
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said), _bounded():
            _watching = watch
            status = _call(act.run)
    finally:
        _watching = None
        os.chdir(before[0])
        sys.argv, sys.dont_write_bytecode, tempfile.tempdir = before[1:]
    return Outcome(status, said.getvalue(), tuple(watch.seen))


def _call(run: Sequence[str] | Callable[[], object]) -> int:
    try:
        if callable(run):
            run()
        else:
            sys.argv = ["reprood", *run]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(
                    reprood.cli.main, "JOBS", ()
                )  # the duration of a job is printed at the end of the process
                reprood.cli.main.main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return int(end.code or 0)
    except ReproodError as mistake:  # of a function: what the command line would say
        print(f"error: {reprood.cli.main.printable(str(mistake))}", file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        return 99
    return 0


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return every file below a folder with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in sorted(folder.rglob("*"))
    }


def judge(case: Case, tmp_path: Path) -> Outcome:
    """Build a bad input, run the command and assert everything that is promised."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "keep.txt").write_text("kept\n")
    act = case.build(inside)
    kept = tree(outside)
    outcome = perform(act, tmp_path)
    lines = [line for line in outcome.said.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in outcome.said, outcome.said[-3000:]
    assert outcome.status == 1, (outcome.status, outcome.said[-3000:])
    assert len(lines) == 1, outcome.said[-3000:]
    sentence = lines[0]
    assert outcome.said.rstrip().endswith(sentence), outcome.said[-3000:]  # nothing after it
    assert len(sentence) <= LONGEST, sentence[:300]
    assert sentence.isprintable(), repr(sentence)
    assert sentence.endswith((".", ")")), sentence
    for word in case.words:
        assert word in sentence, (word, sentence)
    assert not outcome.seen, outcome.seen
    assert tree(outside) == kept, "something outside was changed"
    assert act.out is None or not act.out.exists(), f"{act.out} was written"
    return outcome
