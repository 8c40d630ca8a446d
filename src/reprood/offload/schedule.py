"""Which job comes next, and how long it may take; pure functions, standard library only."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from reprood.offload.jobs import Done, Job

ORDERS = ("shortest", "seeds", "listed")


class Estimates:
    """Seconds that jobs may take, from those that have ended: of the same method, else by their work."""

    def __init__(self, ended: Iterable[tuple[Job, float]]) -> None:
        self.same: dict[tuple[str, str, str], list[float]] = {}
        self.work: dict[str, tuple[float, float]] = {}
        for job, seconds in ended:
            self.add(job, seconds)

    def add(self, job: Job, seconds: float) -> None:
        """One more job has ended."""
        self.same.setdefault((job.kind, job.benchmark, job.method), []).append(seconds)
        cost, total = self.work.get(job.kind, (0.0, 0.0))
        self.work[job.kind] = cost + job.cost, total + seconds

    def seconds(self, job: Job) -> float | None:
        """A guess; None before anything of its kind has ended."""
        same = self.same.get((job.kind, job.benchmark, job.method))
        if same:
            return sum(same) / len(same)
        cost, total = self.work.get(job.kind, (0.0, 0.0))
        return job.cost * total / cost if cost > 0 else None


def waiting(
    jobs: Sequence[Job], ended: Mapping[str, Done], running: AbstractSet[str], *, retry: bool = False
) -> list[Job]:
    """Jobs that could start now: not done, not running, not failed (unless `retry`), their training done.

    Parameters
    ----------
    jobs : sequence of Job
        A prediction waits for the training of its run when that is among them.
    ended : mapping
        Identity -> what is known of it.
    running : set of str
        Identities.
    """
    trainings = {job.run: job.identity for job in jobs if job.kind == "train"}

    def is_done(identity: str) -> bool:
        return identity in ended and ended[identity].status == "done"

    def could(job: Job) -> bool:
        known = ended.get(job.identity)
        if job.identity in running or is_done(job.identity) or (known and known.status == "failed" and not retry):
            return False
        return job.kind == "train" or job.run not in trainings or is_done(trainings[job.run])

    return [job for job in jobs if could(job)]


def in_order(jobs: Sequence[Job], how: str, begun: AbstractSet[str]) -> list[Job]:
    """The order in which to start: predictions of finished trainings, trainings that were begun, then the others.

    Parameters
    ----------
    jobs : sequence of Job
        As the plan lists them.
    how : {"shortest", "seeds", "listed"}
        The others by their work; by seed and then by their work (every method once before any twice); or as listed.
    begun : set of str
        Identities of trainings that have a checkpoint.
    """

    def key(place: int) -> tuple[float, ...]:
        job = jobs[place]
        first = 0 if job.kind == "predict" else 1 if job.identity in begun else 2
        rest = {"shortest": (job.cost,), "seeds": (job.seed, job.cost), "listed": ()}[how]
        return (first, *rest, place)

    return [jobs[place] for place in sorted(range(len(jobs)), key=key)]
