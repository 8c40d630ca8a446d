"""Entry point of the command line, and a warm server that saves its jobs the imports.

A job of the suite `quick` computes for a few seconds, and importing torch, pandas and matplotlib takes two more. While
Snakemake runs jobs on its own machine it keeps one process that has imported them (started by the Snakefile); the
command `reprood` then asks that process for a fork of itself which does the job with the asker's arguments, folder,
environment and standard streams. Without a server, or when more than one thread is asked for, it runs by itself. The
results are the same bits.

The server dies with Snakemake, its forks die with the server, and a fork dies with its asker.
"""

import ctypes
import gc
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

VARIABLE = "REPROOD_WARM"  # path of the server's socket
HEADER = 8  # bytes: length of the request
KILL_WITH_PARENT = 1  # Linux' PR_SET_PDEATHSIG
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def main() -> None:
    """Entry point: through the server if there is one, else here."""
    path = os.environ.get(VARIABLE)
    if path and _one_thread(sys.argv) and (asked := _connect(path)) is not None:
        sys.exit(_ask(asked))
    if path:
        _end_with(path)
    from reprood.cli.main import main as run

    run()


def _end_with(path: str) -> None:
    """Die when the Snakemake process dies that this command descends from: an orphan would write behind its back."""
    number = Path(path).stem.rpartition("-")[2]
    if sys.platform != "linux" or not number.isdigit() or int(number) not in _ancestors():
        return
    try:
        descriptor = os.pidfd_open(int(number))
    except ProcessLookupError:
        os.kill(os.getpid(), signal.SIGKILL)

    def wait() -> None:
        select.select([descriptor], [], [])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def _ancestors() -> list[int]:
    """The processes above this one."""
    found = [os.getppid()]
    while found[-1] > 1:
        try:
            told = Path(f"/proc/{found[-1]}/stat").read_text()
        except FileNotFoundError:
            break
        found.append(int(told.rpartition(")")[2].split()[1]))
    return found


def _one_thread(arguments: list[str]) -> bool:
    """The number of threads that libraries make is fixed when they are imported."""
    if "--threads" in arguments:
        return arguments[arguments.index("--threads") + 1 :][:1] == ["1"]
    return True


def _connect(path: str) -> socket.socket | None:
    asked = socket.socket(socket.AF_UNIX)
    try:
        asked.connect(path)
    except OSError:  # no server: not started, gone, or on another machine
        asked.close()
        return None
    return asked


def _ask(server: socket.socket) -> int:
    """Send what is to be done and wait for its status; a fork that was killed kills its asker in the same way."""
    request = {"arguments": sys.argv, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    data = json.dumps(request).encode()
    try:
        socket.send_fds(server, [len(data).to_bytes(HEADER, "big")], [0, 1, 2])
        server.sendall(data)
        answer = server.recv(HEADER)
    except ConnectionError:  # it died before it had read what it was asked
        answer = b""
    if len(answer) < HEADER:
        print("error: the warm server has died; run the command again.", file=sys.stderr)
        return 1
    status = os.waitstatus_to_exitcode(int.from_bytes(answer, "big"))
    if status == -signal.SIGKILL:
        print(
            "error: this job was killed, mostly a sign that the machine ran out of memory; free some, or run fewer "
            "jobs at a time (snakemake --cores 1), then give the same command again.",
            file=sys.stderr,
            flush=True,
        )
    if status < 0:
        os.kill(os.getpid(), -status)
    return status


# --- the server ---


_started: list[subprocess.Popen[bytes]] = []  # whose standard input ends with this process


def start(path: str) -> None:
    """Start a server that lives as long as this process; requests wait until it has imported everything.

    Only Linux can tell a process that its parent has died; elsewhere there is no server, and none where the
    environment has an empty REPROOD_WARM.
    """
    if sys.platform != "linux" or os.environ.get(VARIABLE) == "":
        return
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    environment.pop(VARIABLE, None)
    command = [sys.executable, "-c", f"from reprood.warm import serve; serve({path!r})"]
    _started.append(subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True))


def serve(path: str) -> None:
    """Answer requests until standard input ends, which is when the process that started this one has ended."""
    _die_with_parent(signal.SIGKILL)  # importing takes seconds in which nobody looks at standard input
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(64)
        run = _import_everything()
        _die_with_parent(0)
        try:
            _loop(listening, run)
        finally:
            Path(path).unlink(missing_ok=True)


def _die_with_parent(number: int) -> None:
    """Have the kernel send this signal when the parent dies; 0 for none."""
    ctypes.CDLL(None).prctl(KILL_WITH_PARENT, number)


def _import_everything() -> Callable[[], None]:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    import reprood.data.corrupt
    import reprood.train.examples
    import reprood.predict.run
    import reprood.report.draw
    import reprood.studies.run
    import reprood.train.run  # noqa: F401
    from reprood.cli.main import main as run

    gc.collect()
    gc.freeze()  # forks do not copy what the collector would touch
    return run


def _loop(listening: socket.socket, run: Callable[[], None]) -> None:
    """One fork a connection; its end is told to the asker, and the asker's end is its end."""
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ, None)
        selector.register(listening, selectors.EVENT_READ, None)
        children: dict[int, tuple[int, socket.socket]] = {}  # process -> (its descriptor, its asker)
        while True:
            for key, _ in selector.select():
                if key.fileobj is listening:
                    asker, _ = listening.accept()
                    child = _fork(asker, listening, run)
                    if child is None:
                        asker.close()
                        continue
                    descriptor = os.pidfd_open(child)
                    children[child] = descriptor, asker
                    selector.register(descriptor, selectors.EVENT_READ, child)
                    selector.register(asker, selectors.EVENT_READ, child)
                elif key.data is None:  # standard input has ended
                    return
                elif key.data in children:
                    child, (descriptor, asker) = key.data, children[key.data]
                    if key.fileobj is asker:  # it sends nothing more: it has gone
                        os.kill(child, signal.SIGKILL)
                        selector.unregister(asker)
                        continue
                    _, status = os.waitpid(child, 0)
                    with suppress(OSError):
                        asker.sendall(status.to_bytes(HEADER, "big"))
                    with suppress(KeyError, ValueError):
                        selector.unregister(asker)
                    selector.unregister(descriptor)
                    os.close(descriptor)
                    asker.close()
                    del children[child]


def _receive(asker: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The request and the asker's streams; None when it has gone before it said all."""
    head, streams, _, _ = socket.recv_fds(asker, HEADER, 3)
    data = b""
    length = int.from_bytes(head, "big")
    while len(data) < length:
        part = asker.recv(min(length - len(data), 1 << 20))
        if not part:
            break
        data += part
    if len(head) < HEADER or len(streams) < 3 or len(data) < length:
        for stream in streams:
            os.close(stream)
        return None
    return json.loads(data), streams


def _fork(asker: socket.socket, listening: socket.socket, run: Callable[[], None]) -> int | None:
    """A fork that does what is asked; None when the asker has gone."""
    received = _receive(asker)
    if received is None:
        return None
    request, streams = received
    child = os.fork()
    if child:
        for stream in streams:
            os.close(stream)
        return child
    _die_with_parent(signal.SIGKILL)
    listening.close()
    asker.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[:] = request["arguments"]
    os._exit(status_of(run))


def status_of(run: Callable[[], None]) -> int:
    """What the command ends with, as the interpreter would tell it; exit handlers are run."""
    import atexit
    import traceback

    code = 0
    try:
        run()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code
