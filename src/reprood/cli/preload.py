"""A process that has imported torch, pandas and matplotlib, and forks for each job of a workflow on this machine.

Importing these libraries takes 2 to 4 CPU-seconds per job, and most jobs of the suite `quick` compute for few seconds.
The suite `smoke` takes 95 CPU-seconds with the server and 268 without.
The Snakefile starts one server; the command `reprood` sends it arguments, folder, environment and standard streams,
and ends with the status of the fork. Without a server, with more than one thread, or outside Linux, the command runs in
its own process. The results are the same bits either way.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from reprood.core.process import PRELOADED, THREAD_VARIABLES

PROGRAM = "import sys; from reprood.cli import main, preload; preload.serve(sys.argv[1], main.run_command)"
HEADER = 8  # bytes of a message's length, and of a status


def start(path: str) -> None:
    """Start a server on a Unix socket; it ends when this process ends, because its standard input is then closed."""
    if sys.platform != "linux":
        return
    environment = {name: value for name, value in os.environ.items() if name != PRELOADED}
    command = [sys.executable, "-c", PROGRAM, path]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, env=environment | dict.fromkeys(THREAD_VARIABLES, "1"), start_new_session=True
    )
    _servers.append(process)


_servers: list[subprocess.Popen[bytes]] = []  # keeps the pipes open


# --- the command


def run_preloaded() -> int | None:
    """Run this process' command line as a fork of the server; None if there is no server or it cannot be used."""
    path = os.environ.get(PRELOADED)
    threads = sys.argv[sys.argv.index("--threads") + 1 :][:1] if "--threads" in sys.argv else ["1"]
    if not path or threads != ["1"]:  # the number of threads is fixed when the libraries are imported
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:  # not started, ended, or on another machine
        return None
    request = json.dumps({"argv": sys.argv, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()
    try:
        socket.send_fds(connection, [len(request).to_bytes(HEADER, "big")], [0, 1, 2])
        connection.sendall(request)
        answer = connection.recv(HEADER)
    except ConnectionError:
        answer = b""
    if len(answer) < HEADER:
        print("error: the process with the preloaded libraries was killed; run the command again.", file=sys.stderr)
        return 1
    status = os.waitstatus_to_exitcode(int.from_bytes(answer, "big"))
    if status == -signal.SIGKILL:
        print(
            "error: this job was killed, most often because memory ran out; free some, or run fewer jobs at a time "
            "(snakemake --cores 1), then give the same command again.",
            file=sys.stderr,
        )
    return status if status >= 0 else 128 - status


# --- the server


def serve(path: str, run: Callable[[], None]) -> None:
    """Fork for each connection and `run` its command line there, until standard input is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(64)  # requests wait here during the imports
        try:
            _import_libraries()
            while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
                connection, _ = listening.accept()
                if os.fork() == 0:
                    listening.close()
                    _supervise(connection, run)
                connection.close()
        finally:
            Path(path).unlink(missing_ok=True)


def _import_libraries() -> None:
    import gc

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    import reprood.evaluate.run
    import reprood.predict.run
    import reprood.report.draw
    import reprood.train.run  # noqa: F401

    gc.freeze()  # a collection in a fork would copy all memory


def _supervise(connection: socket.socket, run: Callable[[], None]) -> NoReturn:
    """Run a job in a fork and send its status; kill it if the command that requested it has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    received = _receive(connection)
    if received is None:
        os._exit(1)
    request, streams = received
    job = os.fork()
    if job == 0:
        connection.close()
        _run_job(request, streams, run)
    for stream in streams:
        os.close(stream)
    descriptor = os.pidfd_open(job)
    if connection.fileno() in select.select([connection.fileno(), descriptor], [], [])[0]:
        os.kill(job, signal.SIGKILL)
    _, status = os.waitpid(job, 0)
    try:
        connection.sendall(status.to_bytes(HEADER, "big"))
    finally:
        os._exit(0)


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return the request and the standard streams; None if the connection was closed before it was complete."""
    head, streams, _, _ = socket.recv_fds(connection, HEADER, 3)
    with connection.makefile("rb") as file:
        length = int.from_bytes(head, "big")
        data = file.read(length)
    if len(head) < HEADER or len(streams) < 3 or len(data) < length:
        return None
    return json.loads(data), streams


def _run_job(request: dict[str, Any], streams: list[int], run: Callable[[], None]) -> NoReturn:
    """Take the place of the command: its streams, folder, environment and arguments; end with its status."""
    import atexit
    import traceback

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[:] = request["argv"]
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
    os._exit(code)
