"""Trainings and predictions as jobs that another machine can run, and what became of them there.

Both machines import this module; it needs only the standard library.
"""

import fnmatch
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprood.core.errors import ReproodError
from reprood.core.files import canonical_json, read_json, write_json
from reprood.pipeline.outputs import MODEL_FILES, PREDICTED_FILES, resume_key

if TYPE_CHECKING:
    from reprood.pipeline.plan import Plan

WEIGHTS = "model.safetensors"
THREADS = 1  # of a job, as in the rules


@dataclass(frozen=True)
class Job:
    """A training or a prediction. All paths are relative to the checkout.

    Attributes
    ----------
    kind : {"train", "predict"}
    benchmark, method, seed : str, str, int
        The run.
    command : tuple of str
        Arguments of `python -m reprood`, as in the workflow's rule.
    settings : str
        The value of `--settings`.
    code : str
        Fingerprint of the code.
    data : mapping
        Split -> content hash, of every split that the job reads.
    inputs : tuple of str
        Files of these splits.
    folder : str
        Folder of the run.
    outputs : tuple of str
        Files that the job writes.
    log : str
        Its log.
    state : str
        Folder of a training's checkpoints; "" for a prediction.
    """

    kind: str
    benchmark: str
    method: str
    seed: int
    command: tuple[str, ...]
    settings: str
    code: str
    data: Mapping[str, str]
    inputs: tuple[str, ...]
    folder: str
    outputs: tuple[str, ...]
    log: str
    state: str = ""

    @property
    def run(self) -> str:
        """benchmark/method/seed."""
        return f"{self.benchmark}/{self.method}/{self.seed}"

    @property
    def name(self) -> str:
        """Kind and run, for messages."""
        return f"{self.kind} {self.run}"

    @property
    def weights(self) -> str:
        """The file of the run's weights."""
        return f"{self.folder}/{WEIGHTS}"

    @property
    def identity(self) -> str:
        """SHA-256 of what the result depends on: kind, run, settings, code and data."""
        parts = [self.kind, self.run, self.settings, self.code, dict(self.data)]
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Result:
    """What became of a job on the other machine.

    Attributes
    ----------
    identity : str
        Identity of the job.
    status : {"done", "failed", "stopped"}
    visits : tuple of mapping
        One record per visit in which it ran: machine, when it began, seconds.
    files : mapping
        Output file -> SHA-256.
    model : str
        SHA-256 of the weights that were trained or used.
    reason : str
        Last line of the log of a failed job.
    """

    identity: str
    status: str
    visits: tuple[Mapping[str, Any], ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    reason: str = ""


def planned_job(plan: "Plan", root: Path, kind: str, benchmark: str, method: str, seed: int) -> Job:
    """Return a job as the checkout's plan describes it now.

    Raises
    ------
    ReproodError
        When the data that it reads are not in the checkout, or are images that stay in a folder of the user.
    """
    if kind == "train" and plan.streams(benchmark):
        raise ReproodError(
            f"{benchmark} streams its training images from a folder, which no bundle holds; train it where the folder "
            "is (see docs/how-to/imagenet.md), or leave it out."
        )
    folder = str(Path(plan.run_file(benchmark, method, seed, MODEL_FILES[0])).parent)
    predicted = plan.run_folder(benchmark, method, seed)
    run, state = (folder if kind == "train" else predicted).removeprefix("runs/"), ""
    place = plan.folders.trained(benchmark) if kind == "train" else plan.folders.benchmark(benchmark)
    data = f"data/benchmarks/{place}"
    threads = ("--threads", str(THREADS))
    code = plan.code_of(benchmark, method, f"reprood.{kind}.run")
    command: tuple[str, ...]
    if kind == "train":
        settings = plan.train_parameters(benchmark, method, seed)
        splits = plan.training_splits(benchmark)
        outputs = tuple(f"{folder}/{name}" for name in MODEL_FILES)
        state = f"state/train/{run}/{resume_key(settings, code)}"
        command = ("train", "--settings", settings, "--data", data, "--code", code, *threads, "--out", folder)
    else:
        settings = plan.predict_parameters(benchmark, method)
        splits = json.loads(settings)["splits"]
        outputs = tuple(f"{predicted}/{name}" for name in PREDICTED_FILES)
        command = ("predict", "--settings", settings, "--data", data, "--run", folder, *threads, "--out", predicted)
    return Job(
        kind=kind,
        benchmark=benchmark,
        method=method,
        seed=seed,
        command=command,
        settings=settings,
        code=code,
        data={split: str(read_json(root / data / split / "meta.json").get("content")) for split in splits},
        inputs=tuple(plan.data_files(place, splits)),
        folder=folder,
        outputs=outputs,
        log=f"logs/{kind}/{run}.log",
        state=state,
    )


def difference(there: Job, here: Job) -> str:
    """Return why two jobs of the same name are not the same job, in words; "" when they are."""
    if there.code != here.code:
        return f"its code has changed (fingerprint {there.code} in the results, {here.code} here)"
    if there.settings != here.settings:
        return "its settings have changed"
    other = sorted(name for name in {*there.data, *here.data} if there.data.get(name) != here.data.get(name))
    return f"its data differ (split {', '.join(other)})" if other else ""


def selected(run: str, patterns: Sequence[str]) -> bool:
    """Return whether a run (benchmark/method/seed) matches one of the patterns, or there are none.

    A pattern is matched against the run; a plain name also against the benchmark and the method.
    """
    parts = run.split("/")
    return not patterns or any(
        fnmatch.fnmatchcase(run, pattern) or any(fnmatch.fnmatchcase(part, pattern) for part in parts[:2])
        for pattern in patterns
    )


# --- stored form


def job_from(record: Mapping[str, Any]) -> Job:
    """Return the job of a JSON record."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    return Job(**values)


def record_path(folder: Path, job: Job) -> Path:
    """Return where the result of a job is stored in an output folder."""
    return folder / "records" / f"{job.kind}.{job.benchmark}.{job.method}.{job.seed}.json"


def write_record(folder: Path, job: Job, result: Result) -> None:
    """Store what became of a job."""
    write_json(record_path(folder, job), {"job": asdict(job), "result": asdict(result)})


def read_record(path: Path) -> tuple[Job, Result]:
    """Read what became of a job.

    Raises
    ------
    ReproodError
        When the file is no such record, or its parts do not agree.
    """
    record = read_json(path)
    try:
        job = job_from(record["job"])
        result = Result(**{**record["result"], "visits": tuple(record["result"]["visits"])})
    except (KeyError, TypeError) as error:
        raise ReproodError(f"{path} is not a record of this version ({error}); pack and run again.") from error
    if job.identity != result.identity:
        raise ReproodError(f"{path} was changed: its job is not the one of its result; bring the results again.")
    return job, result
