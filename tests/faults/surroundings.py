"""What else may happen: two Snakemakes at once, a clock that goes backwards, too little memory, a source that ends."""

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
from digest import command_of, digest, wrong_so_far
from storage import without
from workplace import STATE, Count, Reference, Workplace, last_words

RUN = "runs/smoke_letters/erm/0"
DAY = 86_400
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


def two_at_once(folder: Path, reference: Reference, seed: int, cores: int) -> list[Count]:
    """Two Snakemakes begin in one folder, at the same moment or a little apart: one works, the other says why not."""
    rng = random.Random(seed + 4)
    count = Count("two Snakemakes at once")
    for apart in (0.0, rng.uniform(0, 6)):
        place = Workplace.copy(reference, folder, cores)
        without(place)
        first = place.start()
        time.sleep(apart)
        other = Workplace(folder, cores, fill=False)
        other.output = folder.parent / "other.output"
        second = other.start()
        ends = [place.end(first), other.end(second)]
        count.times += 1
        failed = [end for end in ends if end.status]
        if len(failed) == 2 or any(end.status == -99 for end in ends):
            count.losses.append(f"neither ended well: {[last_words(end) for end in ends]}")
        if any("cannot be locked" not in end.text for end in failed):
            count.losses.append(f"no word of the lock: {[last_words(end) for end in failed]}")
        count.losses += place.compare(reference)
        count.said += len(failed) == 1
        count.healed += not failed  # the second came when the first had ended
        count.losses += [] if place.run().status == 0 else ["the same command failed afterwards"]
    return [count]


def shift(folder: Path, seconds: float) -> None:
    """Everything that was written looks so much younger: what a clock that was set back leaves behind."""
    for part in STATE:
        for path in [folder / part, *(folder / part).rglob("*")]:
            if path.exists() and not path.is_socket():
                status = path.stat()
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + int(seconds * 1e9)))


def clock(folder: Path, reference: Reference, seed: int, cores: int) -> list[Count]:
    """The clock goes back by a day: between two runs, between a job and what rests on it, and for a process."""
    plain, edited = Count("clock a day back, between two runs"), Count("clock a day back, and the data changes")
    place = Workplace.copy(reference, folder, cores)
    shift(place.folder, DAY)
    before = digest(place.folder)
    end = place.run()
    plain.times += 1
    if "Nothing to be done" not in end.text or digest(place.folder) != before:
        plain.losses.append(f"something was run again: {last_words(end)}")
    without(place)
    plain.healed += place.must_end_well(plain, reference)

    target = f"{RUN}/metrics.csv"
    wanted = {}
    for late in (0, DAY):
        place = Workplace.copy(reference, folder, cores)
        shift(place.folder, late)
        place.checkout.edit(
            "config/suites/smoke.yaml", "[0, 1, 2, 3, 4, 5], limit: 240}", "[0, 1, 2, 3, 4, 5], limit: 200}"
        )
        for step in ("data/benchmarks/smoke_letters/train/images.npy", target):  # the run ends between these two
            end = place.run(step)
            if end.status:
                edited.losses.append(f"{step}: {last_words(end)}")
        names = ("model.safetensors", "predictions.parquet", "metrics.csv", "history.csv")
        wanted[late] = {name: (place.folder / RUN / name).read_bytes() for name in names}
    edited.times += 1
    if wanted[0] != wanted[DAY]:
        edited.losses.append("a model of the old data was kept for the new data")
    if (place.folder / RUN / "history.csv").read_bytes() == (reference.folder / RUN / "history.csv").read_bytes():
        edited.losses.append("the changed data changed nothing")
    edited.healed += not edited.losses

    fake = Count("clock a day back, for all processes")
    library = Path(os.environ.get("FAKETIME_LIB", FAKETIME))
    if not library.is_file():
        fake.note = "left out: libfaketime is not installed"
    else:
        place = Workplace.copy(reference, folder, cores)
        without(place)
        place.env = {**place.env, "LD_PRELOAD": str(library), "FAKETIME": "-1d", "NO_FAKE_STAT": "1"}
        fake.times += 1
        end = place.run()
        place.env = {key: value for key, value in place.env.items() if key not in ("LD_PRELOAD", "FAKETIME")}
        if end.status:
            fake.losses.append(f"with the clock set back: {last_words(end)}")
        fake.healed += place.must_end_well(fake, reference)
    return [plain, edited, fake]


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


def memory(folder: Path, reference: Reference, seed: int, cores: int) -> list[Count]:
    """One job has too little memory; then it has enough."""
    place = Workplace.copy(reference, folder, cores)
    count = Count("one job without enough memory")
    program = place.folder / "limited.py"
    program.write_text(LIMITED)
    run = "runs/smoke_objects/erm/0"
    for output, spares in ((f"{run}/predictions.parquet", (500,)), (f"{run}/model.safetensors", (500, 4_000, 16_000))):
        command = command_of(place.folder, output)
        (place.folder / output).unlink()
        for spare in spares:
            limited = command.replace("reprood ", f"{sys.executable} {program} {spare} ", 1)
            end = place.shell(limited)
            if end.status == 0:
                continue  # that was enough
            count.times += 1
            told = any("memory" in line for line in end.sentences)
            written = (place.folder / output).exists() or list((place.folder / run).glob(".*"))
            if not told or end.defect or written:
                count.losses.append(f"{output}, {spare} kB: status {end.status}, {last_words(end)}")
            else:
                count.said += 1
    count.losses += [] if place.must_end_well(count, reference) else ["the same command did not end well"]
    return [count]


@contextmanager
def vanishing(body: bytes, ends_after: list[int]) -> Iterator[str]:
    """A server on loopback that sends so many bytes of a file and then goes for good; with none left it sends all."""

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
    try:
        server.serve_forever(poll_interval=0.05)
    except (OSError, ValueError):
        return  # its socket was closed: it has vanished


def source(folder: Path, reference: Reference, seed: int, cores: int) -> list[Count]:
    """A source vanishes in the middle of a download; when it is back, the same command goes on where it was."""
    rng = random.Random(seed + 5)
    count = Count("a source vanishes mid-download")
    place = Workplace.copy(reference, folder, cores)
    for number in range(5):
        draw = np.random.default_rng([seed, number])
        images = draw.integers(0, 256, (2000, 28, 28), dtype=np.uint8)
        labels = draw.integers(0, 5, 2000)
        made = place.folder / "made.npz"
        np.savez(made, images=images, labels=labels)
        body, out = made.read_bytes(), place.folder / "data" / f"remote{number}" / "train"
        made.unlink()

        def ask(url: str, number: int = number, out: Path = out) -> str:
            entry = {
                "title": "Remote", "licence": "none", "files": {"file.npz": {"urls": [url]}},
                "splits": {"train": {"reader": "npz", "files": ["file.npz"]}},
            }  # fmt: skip
            return f"reprood data dataset remote{number} train --entry '{json.dumps(entry)}' --out {out}"

        with vanishing(body, [rng.randrange(1, len(body))]) as url:
            end = place.shell(ask(url))
        count.times += 1
        if end.status == 0 or not end.sentences or end.defect or out.exists():
            count.losses.append(f"source gone: status {end.status}, {last_words(end)}")
        with vanishing(body, []) as url:
            end = place.shell(ask(url))
        if end.status or not np.array_equal(np.load(out / "images.npy")[..., 0], images):
            count.losses.append(f"source back: status {end.status}, {last_words(end)}")
        else:
            count.said += 1
        shutil.rmtree(out.parent, ignore_errors=True)
    count.losses += wrong_so_far(reference.files, place.folder)
    return [count]
