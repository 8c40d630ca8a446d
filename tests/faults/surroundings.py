"""Faults outside of the files: two Snakemakes at once, a clock set back, little memory, a source that vanishes."""

import json
import os
import random
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from digests import command_of, wrong_files
from storage import remove_part
from workspace import STATE, Reference, Tally, Workspace, summary

DAY = 86_400


def two_at_once(place: Workspace, reference: Reference, seed: int, full: bool) -> list[Tally]:
    """Start two Snakemakes in one folder, together or a little apart: one works, the other says why it does not."""
    rng = random.Random(seed + 4)
    tally = Tally("two Snakemakes at once")
    for apart in (0.0, rng.uniform(0, 6)):
        place = Workspace.copy(reference, place.folder, place.cores)
        remove_part(place)
        first = place.start()
        time.sleep(apart)
        other = Workspace(place.folder, place.cores, fill=False)
        other.output = place.folder.parent / "other.output"
        second = other.start()
        outcomes = [place.end(first), other.end(second)]
        tally.times += 1
        failed = [outcome for outcome in outcomes if outcome.status]
        if len(failed) == 2 or any(outcome.status == -99 for outcome in outcomes):
            tally.losses.append(f"neither succeeded: {[summary(outcome) for outcome in outcomes]}")
        if any("cannot be locked" not in outcome.text for outcome in failed):
            tally.losses.append(f"no message about the lock: {[summary(outcome) for outcome in failed]}")
        tally.losses += place.compare(reference)
        tally.repaired += len(failed) == 1
        tally.resumed += not failed  # the second came when the first had ended
        if place.run().status:
            tally.losses.append("the same command failed afterwards")
    return [tally]


def shift_times(folder: Path, seconds: float) -> None:
    """Make every result younger: what it looks like after the clock was set back."""
    for part in STATE:
        for path in [folder / part, *(folder / part).rglob("*")]:
            if path.exists() and not path.is_socket():
                status = path.stat()
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + int(seconds * 1e9)))


def clock_set_back(place: Workspace, reference: Reference, seed: int, full: bool) -> list[Tally]:
    """Set the clock back by a day between two runs: a message says what to do, and the results stay the same."""
    tally = Tally("clock set back by a day between two runs")
    shift_times(place.folder, DAY)
    remove_part(place)
    tally.times += 1
    outcome = place.run()
    if outcome.status == 0:
        tally.losses.append("results from the future were not noticed")
    elif "--touch" not in outcome.text:
        tally.losses.append(f"no message says what to do: {summary(outcome)}")
    place.follow_advice(outcome)
    place.recover(tally, reference, followed=True)
    return [tally]


LIMITED = """
import resource, sys
import numpy, pandas, pyarrow.parquet, torch
import reprood.predict.run, reprood.train.run
from reprood.cli.main import main
torch.nn.Conv2d(1, 1, 3)(torch.zeros(1, 1, 8, 8))
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv.pop(1)) * 1000, resource.RLIM_INFINITY))
main()
"""


def little_memory(place: Workspace, reference: Reference, seed: int, full: bool) -> list[Tally]:
    """Run a job with too little memory, then with enough."""
    tally = Tally("a job without enough memory")
    program = place.folder / "limited.py"
    program.write_text(LIMITED)
    run = "runs/smoke_objects/erm/0"
    for output, spares in ((f"{run}/predictions.parquet", (500,)), (f"{run}/model.safetensors", (500, 4_000, 16_000))):
        command = command_of(place.folder, output)
        (place.folder / output).unlink()
        for spare in spares:
            outcome = place.shell(command.replace("reprood ", f"{sys.executable} {program} {spare} ", 1))
            if outcome.status == 0:
                continue  # that was enough
            tally.times += 1
            named = any("memory" in line for line in outcome.messages)
            written = (place.folder / output).exists() or list((place.folder / run).glob(".*"))
            if not named or outcome.has_traceback or written:
                tally.losses.append(f"{output}, {spare} kB: status {outcome.status}, {summary(outcome)}")
            else:
                tally.repaired += 1
    end = Tally("")
    place.recover(end, reference, followed=True)
    tally.losses += end.losses
    return [tally]


@contextmanager
def vanishing(body: bytes, ends_after: list[int]) -> Iterator[str]:
    """Serve a file on the loopback device; with `ends_after` stop for good after that number of bytes."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if start else 200)
            self.send_header("ETag", '"one"')
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            if ends_after:
                self.wfile.write(body[start : start + ends_after.pop()])
                self.wfile.flush()
                self.server.socket.close()  # nobody answers here any more
                self.connection.shutdown(socket.SHUT_RDWR)
            else:
                self.wfile.write(body[start:])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=serve, args=(server,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/file.npz"
    finally:
        server.server_close()


def serve(server: ThreadingHTTPServer) -> None:
    """Answer requests until the socket is closed."""
    try:
        server.serve_forever(poll_interval=0.05)
    except (OSError, ValueError):
        return  # its socket was closed: it has vanished


def vanishing_source(place: Workspace, reference: Reference, seed: int, full: bool) -> list[Tally]:
    """Let a source vanish in the middle of a download; when it is back, the same command resumes."""
    rng = random.Random(seed + 5)
    tally = Tally("a source vanishes during a download")
    for number in range(5):
        draw = np.random.default_rng([seed, number])
        images = draw.integers(0, 256, (2000, 28, 28), dtype=np.uint8)
        labels = draw.integers(0, 5, 2000)
        source = place.folder / "source.npz"
        np.savez(source, images=images, labels=labels)
        body, out = source.read_bytes(), place.folder / "data" / f"remote{number}" / "train"
        source.unlink()

        def command(url: str, number: int = number, out: Path = out) -> str:
            entry = {
                "title": "Remote", "licence": "none", "files": {"file.npz": {"urls": [url]}},
                "splits": {"train": {"reader": "npz", "files": ["file.npz"]}},
            }  # fmt: skip
            return f"reprood data dataset remote{number} train --entry '{json.dumps(entry)}' --out {out}"

        with vanishing(body, [rng.randrange(1, len(body))]) as url:
            outcome = place.shell(command(url))
        tally.times += 1
        if outcome.status == 0 or not outcome.messages or outcome.has_traceback or out.exists():
            tally.losses.append(f"source gone: status {outcome.status}, {summary(outcome)}")
        with vanishing(body, []) as url:
            outcome = place.shell(command(url))
        if outcome.status or not np.array_equal(np.load(out / "images.npy")[..., 0], images):
            tally.losses.append(f"source back: status {outcome.status}, {summary(outcome)}")
        else:
            tally.repaired += 1
        shutil.rmtree(out.parent, ignore_errors=True)
    tally.losses += wrong_files(reference.files, place.folder)
    return [tally]
