"""Files that were changed behind the workflow's back: a flipped byte, a cut end, another file in their place."""

import os
import random
import shutil
import time
from pathlib import Path

from digest import differences, digest
from processes import below, jobs
from workplace import Count, Reference, Workplace, last_words

RUN = "runs/smoke_letters/erm/0"
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
    f"{RUN}/metrics.csv",
    "runs/smoke_letters/examples.npz",
    "results/metrics.parquet",
    "results/verdicts.csv",
    "results/studies/cnc_toy/values.csv",
    "reports/index.html",
    "reports/tables/smoke_letters/detection.csv",
    "reports/figures/smoke_letters/roc.svg",
)
MADE_ANEW = (f"{RUN}/model.safetensors", f"{RUN}/predictions.parquet", "reports/index.html", "results/verdicts.csv")
SETTINGS = ".snakemake/metadata"


def flip(path: Path, rng: random.Random, keep_times: bool = False) -> None:
    """Change one byte; with `keep_times` as a failing disk would, without a new time."""
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
    os.truncate(path, rng.randrange(path.stat().st_size))


def results(folder: Path, reference: Reference, seed: int, cores: int) -> list[Count]:
    """Every kind of result: a flipped bit, a flipped bit under the old time, a cut end. None may be used."""
    rng = random.Random(seed)
    place = Workplace.copy(reference, folder, cores)
    place.run()  # reads everything once: from here on only what has changed is read
    counts = []
    changes = {"flipped bit": flip, "flipped bit, old time": lambda p, r: flip(p, r, True), "cut": cut}
    for kind, change in changes.items():
        count = Count(f"corrupted result: {kind}")
        for name in RESULTS if kind == "flipped bit" else rng.sample(RESULTS, 4):
            path = place.folder / name
            shutil.copy2(path, place.folder.parent / "kept")
            change(path, rng)
            count.times += 1
            end = place.run()
            told = [line for line in end.sentences if name in line and "reprood intact --remove" in line]
            if end.status == 0 or not told or end.defect:
                count.losses.append(f"{name}, {kind}: status {end.status}, {last_words(end)}")
            wrong = [line for line in differences(reference.files, digest(place.folder)) if name not in line]
            count.losses += wrong
            if kind == "flipped bit" and name in MADE_ANEW:
                place.shell("reprood intact --remove")
                count.said += place.must_end_well(count, reference)
            else:
                shutil.copy2(place.folder.parent / "kept", path)
                count.said += bool(told) and not wrong
        counts.append(count)
    return counts


def inputs_of_jobs(folder: Path, reference: Reference, seed: int, cores: int) -> list[Count]:
    """A file that is damaged after Snakemake has looked: the job that reads it refuses."""
    from digest import command_of

    rng = random.Random(seed + 1)
    place = Workplace.copy(reference, folder, cores)
    count = Count("corrupted input of a job that is about to run")
    for output, damaged in (
        (f"{RUN}/model.safetensors", "data/benchmarks/smoke_letters/train/images.npy"),
        (f"{RUN}/model.safetensors", "data/benchmarks/smoke_letters/validation/labels.npy"),
        (f"{RUN}/predictions.parquet", f"{RUN}/model.safetensors"),
        (f"{RUN}/predictions.parquet", "data/benchmarks/smoke_letters/uniform/images.npy"),
        (f"{RUN}/metrics.csv", f"{RUN}/predictions.parquet"),
        ("results/metrics.csv", f"{RUN}/metrics.csv"),
        ("results/verdicts.csv", f"{RUN}/predictions.parquet"),
        ("reports/figures/smoke_letters/roc.svg", f"{RUN}/predictions.parquet"),
        ("reports/index.html", "results/verdicts.csv"),
        ("results/studies/biamat_gate/values.csv", "runs/smoke_robust/biamat/0/model.safetensors"),
        ("data/benchmarks/smoke_letters/train/images.npy", "data/letters/train/images.npy"),
    ):
        path = place.folder / damaged
        shutil.copy2(path, place.folder.parent / "kept")
        flip(path, rng, keep_times=True)
        count.times += 1
        end = place.shell(command_of(place.folder, output))
        shutil.copy2(place.folder.parent / "kept", path)
        told = [line for line in end.sentences if damaged in line and "remove it" in line]
        wrong = differences(reference.files, digest(place.folder))
        if end.status == 0 or not told or end.defect or wrong:
            count.losses.append(f"{damaged} -> {output}: status {end.status}, {last_words(end)}, {wrong[:2]}")
        else:
            count.said += 1
    return [count]


def checkpoints(folder: Path, reference: Reference, seed: int, cores: int) -> list[Count]:
    """A resume checkpoint and the lock of a training that was killed are damaged: it starts over, to the same bits."""
    rng = random.Random(seed + 2)
    place = Workplace.copy(reference, folder, cores)
    counts = []
    changes = {"flipped bit": flip, "cut": cut, "lock filled": None}
    for kind, change in changes.items():
        count = Count(f"corrupted checkpoint of a killed training: {kind}")
        for name in ("cutmix", "erm", "godin_c"):
            run = place.folder / "runs" / "smoke_letters" / name / "0"
            (run / "model.safetensors").unlink()
            target = str((run / "model.safetensors").relative_to(place.folder))
            process = place.start(target, settings=("checkpoint_seconds=0",))
            state, found = place.folder / "state" / "train" / "smoke_letters" / name / "0", []
            while process.poll() is None and not found:
                time.sleep(0.01)
                found = [p for p in state.rglob("*.checkpoint") if p.stat().st_size and not p.name.startswith(".")]
            for job in jobs(below(process.pid)):
                os.kill(job, 9)
            place.end(process)
            found = [p for p in state.rglob("*.checkpoint") if not p.name.startswith(".")]
            if not found:
                continue  # it had ended before the kill
            count.times += 1
            if change is None:
                (found[0].parent / "lock").write_bytes(os.urandom(100))
            else:
                change(found[0], rng)
            end = place.run()
            wrong = differences(reference.files, digest(place.folder))
            if end.status or wrong:
                count.losses.append(f"{name}, {kind}: status {end.status}, {last_words(end)}, {wrong[:2]}")
            else:
                count.healed += 1
        counts.append(count)
    return counts


def bookkeeping(folder: Path, reference: Reference, seed: int, cores: int) -> list[Count]:
    """Locks, lists and records are damaged: they may cost time, or a sentence, and nothing else."""
    rng = random.Random(seed + 3)
    count = Count("corrupted lock, list or record")
    place = Workplace.copy(reference, folder, cores)
    place.run()

    def records(number: int) -> list[Path]:
        return rng.sample(sorted(p for p in (place.folder / SETTINGS).rglob("*") if p.is_file()), number)

    def lock_of_a_killed_one() -> None:
        (place.folder / RUN / "predictions.parquet").unlink()
        process = place.start()
        while process.poll() is None and not list((place.folder / ".snakemake" / "locks").glob("*.lock")):
            time.sleep(0.02)
        process.kill()
        place.end(process)
        for path in (place.folder / ".snakemake" / "locks").glob("*.lock"):
            path.write_bytes(os.urandom(200))

    def cut_records() -> None:
        for path in records(5):
            cut(path, rng)

    def flipped_records() -> None:
        for path in records(5):
            flip(path, rng)

    def incomplete() -> None:
        (place.folder / ".snakemake" / "incomplete" / "damaged").write_bytes(os.urandom(50))

    faults = {
        "Snakemake's lock, filled with noise after a kill": lock_of_a_killed_one,
        "Snakemake's records, cut": cut_records,
        "Snakemake's records, a flipped bit": flipped_records,
        "a mark of an incomplete file": incomplete,
        "state/seen.json": lambda: cut(place.folder / "state" / "seen.json", rng),
        "state/newest": lambda: (place.folder / "state" / "newest").write_bytes(b"\xff"),
        "a list, a flipped bit": lambda: flip(place.folder / RUN / "SHA256SUMS", rng),
        "a list, cut": lambda: cut(place.folder / "results" / "SHA256SUMS", rng),
        "a list, removed": lambda: (place.folder / "reports" / "SHA256SUMS").unlink(),
    }
    for name, bring_about in faults.items():
        bring_about()
        count.times += 1
        end = place.run()
        if end.status and end.sentences and not end.defect:  # a list that cannot be right: what it says is done
            for path in sorted((place.folder / "runs").rglob("SHA256SUMS")):
                if name.startswith("a list") and str(path.relative_to(place.folder)) in end.text:
                    shutil.rmtree(path.parent)
            for path in (place.folder / "results" / "SHA256SUMS",):
                if str(path.relative_to(place.folder)) in end.text:
                    shutil.rmtree(path.parent)
            place.shell("reprood intact --remove")
            end = place.run()
            count.said += end.status == 0
        else:
            count.healed += end.status == 0
        wrong = place.compare(reference) if end.status == 0 else []
        if end.status or wrong or end.defect:
            count.losses.append(f"{name}: status {end.status}, {last_words(end)}, {wrong[:3]}")
            place = Workplace.copy(reference, folder, cores)
            place.run()
    return [count]
