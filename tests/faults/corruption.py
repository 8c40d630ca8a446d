"""Results, checkpoints and records that were changed behind the workflow's back: a flipped bit or a cut end."""

import os
import random
import shutil
import time
from pathlib import Path

from digests import command_of, differences, digests
from processes import descendants, jobs
from workspace import Reference, Tally, Workspace, summary

RUN = "runs/smoke_letters/erm/0"
METRICS = f"results/smoke/{RUN}/metrics.csv"
RESULTS = (
    "data/letters/train/images.npy",
    "data/benchmarks/smoke_letters/train/images.npy",
    "data/benchmarks/smoke_letters/train/labels.npy",
    "data/benchmarks/smoke_letters/test/extras.npz",
    "data/benchmarks/smoke_robust/corrupted/images.npy",
    "data/benchmarks/smoke_letters/test/meta.json",
    f"{RUN}/model.safetensors",
    f"{RUN}/model.json",
    f"{RUN}/history.csv",
    f"{RUN}/predictions.parquet",
    METRICS,
    "results/smoke/examples/smoke_letters.npz",
    "results/**/metrics.parquet",
    "results/**/verdicts.csv",
    "results/**/cnc_toy/values.csv",
    "reports/**/index.html",
    "reports/**/tables/smoke_letters/detection.csv",
    "reports/**/figures/smoke_letters/roc.svg",
)
# Weights are not among them: a run whose predictions exist does not need its weights.
REBUILT = (f"{RUN}/model.json", f"{RUN}/predictions.parquet", "reports/**/index.html", "results/**/verdicts.csv")
INPUTS = (  # a file that a job writes, a file that the job reads
    (f"{RUN}/model.safetensors", "data/benchmarks/smoke_letters/train/images.npy"),
    (f"{RUN}/predictions.parquet", f"{RUN}/model.safetensors"),
    ("results/**/verdicts.csv", f"{RUN}/predictions.parquet"),
    (f"{RUN}/model.safetensors", "data/benchmarks/smoke_letters/validation/labels.npy"),
    (f"{RUN}/predictions.parquet", "data/benchmarks/smoke_letters/uniform/images.npy"),
    (METRICS, f"{RUN}/predictions.parquet"),
    ("results/smoke/metrics.csv", METRICS),
    ("reports/**/figures/smoke_letters/roc.svg", f"{RUN}/predictions.parquet"),
    ("reports/**/index.html", "results/**/verdicts.csv"),
    ("results/**/biamat_gate/values.csv", "runs/smoke_robust/biamat/0/model.safetensors"),
    ("data/benchmarks/smoke_letters/train/images.npy", "data/letters/train/images.npy"),
)


def flip(path: Path, rng: random.Random, keep_times: bool = False) -> None:
    """Flip one bit; with `keep_times` as a failing disk would, without a new modification time."""
    status = path.stat()
    with open(path, "r+b") as stream:
        place = rng.randrange(status.st_size)
        stream.seek(place)
        old = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([old ^ (1 << rng.randrange(8))]))
    if keep_times:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def cut(path: Path, rng: random.Random) -> None:
    """Truncate a file at a random place."""
    os.truncate(path, rng.randrange(path.stat().st_size))


def flip_unnoticed(path: Path, rng: random.Random) -> None:
    """Flip one bit and keep the modification time."""
    flip(path, rng, keep_times=True)


def damaged_results(place: Workspace, reference: Reference, seed: int, full: bool) -> list[Tally]:
    """Damage every kind of result between two runs: none may be used."""
    rng = random.Random(seed)
    place.run()  # reads everything once; later runs read only what has changed
    tallies = []
    for kind, change in {"flipped bit": flip, "flipped bit, old time": flip_unnoticed, "cut": cut}.items():
        tally = Tally(f"damaged result: {kind}")
        if not full:
            chosen = REBUILT[1:2] if kind == "flipped bit" else RESULTS[2:3]
        else:
            chosen = RESULTS if kind == "flipped bit" else tuple(rng.sample(RESULTS, 4))
        for pattern in chosen:
            name = place.find(pattern).as_posix()
            path, kept = place.folder / name, place.folder.parent / "kept"
            shutil.copy2(path, kept)
            change(path, rng)
            tally.times += 1
            outcome = place.run()
            named = [line for line in outcome.messages if name in line and "--remove`" in line]
            if outcome.status == 0 or not named or outcome.has_traceback:
                tally.losses.append(f"{name}, {kind}: status {outcome.status}, {summary(outcome)}")
            wrong = [line for line in differences(reference.files, digests(place.folder)) if name not in line]
            tally.losses += wrong
            if kind == "flipped bit" and pattern in REBUILT:
                place.follow_advice(outcome)
                place.recover(tally, reference, followed=True)
            else:
                shutil.copy2(kept, path)
                tally.repaired += bool(named) and not wrong
        tallies.append(tally)
    return tallies


def damaged_inputs(place: Workspace, reference: Reference, seed: int, full: bool) -> list[Tally]:
    """Damage a file after Snakemake has looked at it: the job that reads it refuses."""
    rng = random.Random(seed + 1)
    tally = Tally("damaged input of a starting job")
    for output, read in INPUTS if full else INPUTS[:3]:
        written, damaged = place.find(output).as_posix(), place.find(read).as_posix()
        path, kept = place.folder / damaged, place.folder.parent / "kept"
        shutil.copy2(path, kept)
        flip_unnoticed(path, rng)
        tally.times += 1
        outcome = place.shell(command_of(place.folder, written))
        shutil.copy2(kept, path)
        named = [line for line in outcome.messages if damaged in line and "remove" in line]
        wrong = differences(reference.files, digests(place.folder))
        if outcome.status == 0 or not named or outcome.has_traceback or wrong:
            tally.losses.append(f"{damaged} -> {written}: status {outcome.status}, {summary(outcome)}, {wrong[:2]}")
        else:
            tally.repaired += 1
    return [tally]


def damaged_checkpoints(place: Workspace, reference: Reference, seed: int, full: bool) -> list[Tally]:
    """Damage the checkpoint or the lock file of a killed training: it starts over and ends with the same bits."""
    rng = random.Random(seed + 2)
    tallies = []
    for kind, change in {"flipped bit": flip, "cut": cut, "lock file filled": None}.items():
        tally = Tally(f"damaged checkpoint of a killed training: {kind}")
        for method in ("cutmix", "erm", "godin_c"):
            run, state = Path(f"runs/smoke_letters/{method}/0"), Path(f"state/train/smoke_letters/{method}/0")
            (place.folder / run / "model.safetensors").unlink()
            process = place.start(str(run / "model.safetensors"), settings=("checkpoint_seconds=0",))
            checkpoints: list[Path] = []
            while process.poll() is None and not checkpoints:
                time.sleep(0.01)
                files = [path for path in (place.folder / state).rglob("*.checkpoint") if path.name[0] != "."]
                checkpoints = [path for path in files if path.stat().st_size]
            for job in jobs(descendants(process.pid)):
                os.kill(job, 9)
            place.end(process)
            files = [path for path in (place.folder / state).rglob("*.checkpoint") if path.name[0] != "."]
            if not files:
                continue  # it had ended before the kill
            tally.times += 1
            if change is None:
                (files[0].parent / "lock").write_bytes(os.urandom(100))
            else:
                change(files[0], rng)
            place.recover(tally, reference)
        tallies.append(tally)
    return tallies


def damaged_records(place: Workspace, reference: Reference, seed: int, full: bool) -> list[Tally]:
    """Damage lists of checksums, Snakemake's records and caches: they may cost time or a message, nothing else."""
    rng = random.Random(seed + 3)
    tally = Tally("damaged list of checksums, record or cache")
    place.run()

    def records(number: int) -> list[Path]:
        return rng.sample(sorted(p for p in (place.folder / ".snakemake/metadata").rglob("*") if p.is_file()), number)

    def cut_records() -> None:
        for path in records(5):
            cut(path, rng)

    def flip_records() -> None:
        for path in records(5):
            flip(path, rng)

    def cut_list() -> None:
        cut(place.folder / place.find("results/**/verdicts.csv").parent / "SHA256SUMS", rng)

    faults = {
        "Snakemake's records, cut": cut_records,
        "Snakemake's records, a flipped bit": flip_records,
        "a mark of an incomplete file": lambda: (place.folder / ".snakemake/incomplete/damaged").write_bytes(b"\xff"),
        "state/seen.json": lambda: cut(place.folder / "state/seen.json", rng),
        "a list of checksums, a flipped bit": lambda: flip(place.folder / RUN / "SHA256SUMS", rng),
        "a list of checksums, cut": cut_list,
        "a list of checksums, removed": lambda: (place.folder / RUN / "SHA256SUMS").unlink(),
    }  # fmt: skip
    for name, damage in faults.items():
        damage()
        tally.times += 1
        if not place.recover(tally, reference):
            tally.losses.append(f"after: {name}")
            place = Workspace.copy(reference, place.folder, place.cores)
            place.run()
    return [tally]
