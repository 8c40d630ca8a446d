"""What the results of a release were made with, so that a checkout can tell whether it would make the same."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from reprood.core.files import canonical_json
from reprood.offload.jobs import planned_job
from reprood.pipeline.plan import Plan, environment

KINDS = ("train", "predict")
WORDS = {"code": "its code has changed", "settings": "its settings have changed", "data": "its data differ"}


class Identities(BaseModel):
    """What the results of a suite were made with, as a release stores it.

    Attributes
    ----------
    libraries : str
        Versions of the libraries on which trainings and predictions depend.
    runs : dict
        benchmark/method/seed -> "train" and "predict" -> fingerprints of code, settings and data.
    studies : dict
        Study -> fingerprints of code and settings.
    """

    libraries: str
    runs: dict[str, dict[str, dict[str, str]]]
    studies: dict[str, dict[str, str]]


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_identity(plan: Plan, root: Path, benchmark: str, method: str, seed: int) -> dict[str, dict[str, str]]:
    """Return fingerprints of code, settings and data of a run's training and prediction.

    Raises
    ------
    ReproodError
        When the data that it reads are not in the checkout.
    """
    jobs = {kind: planned_job(plan, root, kind, benchmark, method, seed) for kind in KINDS}
    return {
        kind: {"code": job.code, "settings": _short(job.settings), "data": _short(canonical_json(dict(job.data)))}
        for kind, job in jobs.items()
    }


def study_identity(plan: Plan, name: str) -> dict[str, str]:
    """Return fingerprints of code and settings of a study."""
    return {"code": plan.study_code(name), "settings": _short(plan.study_parameters(name))}


def libraries() -> str:
    """Return the versions on which trainings and predictions depend."""
    return environment("torch", "numpy")


def identities(plan: Plan, root: Path) -> Identities:
    """Return the identities of all runs and studies of a suite."""
    return Identities(
        libraries=libraries(),
        runs={
            "/".join(map(str, job)): run_identity(plan, root, *job) for job in plan.jobs if not plan.is_external(job[1])
        },
        studies={name: study_identity(plan, name) for name in plan.suite.studies},
    )


def difference(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Return why two identities are not the same, in words; "" when they are."""
    return next((WORDS[part] for part in here if there.get(part) != here[part]), "")
