"""Optional trackers that get every epoch of a training: dvclive or MLflow. For display: nothing depends on them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from reprood.core.errors import ReproodError

Callback = Callable[[str, Mapping[str, Any]], None]  # phase, the epoch's row of the history
TRACKERS = ("", "dvclive", "mlflow")


@contextmanager
def tracker(name: str, run: str, settings: Mapping[str, Any]) -> Iterator[Callback | None]:
    """Open a tracker for a training and give the function to call at the end of each epoch; None without a tracker.

    dvclive writes to `logs/dvclive/<run>`; MLflow to where `MLFLOW_TRACKING_URI` says, in the experiment `reprood`. A
    training that was resumed has its later epochs in a run of its own.

    Parameters
    ----------
    name : {"", "dvclive", "mlflow"}
    run : str
        benchmark/method/seed.
    settings : mapping
        Of the training, stored as parameters.

    Raises
    ------
    ReproodError
        When the tracker is not known or not installed.
    """
    if name not in TRACKERS:
        raise ReproodError(f"There is no tracker '{name}'; expected dvclive or mlflow, or '' for none.")
    if not name:
        yield None
        return
    try:
        if name == "dvclive":
            import dvclive

            opened = _dvclive(dvclive, run, settings)
        else:
            import mlflow  # type: ignore[import-not-found,unused-ignore]

            opened = _mlflow(mlflow, run, settings)
    except ModuleNotFoundError as error:
        raise ReproodError(f"The tracker {name} is not installed; install it, or set tracker to ''.") from error
    with opened as callback:
        yield callback


@contextmanager
def _dvclive(dvclive: Any, run: str, settings: Mapping[str, Any]) -> Iterator[Callback]:
    with dvclive.Live(f"logs/dvclive/{run}", save_dvc_exp=False, dvcyaml=None, report=None, resume=True) as live:
        live.log_params({key: str(value) for key, value in settings.items()})

        def log(phase: str, row: Mapping[str, Any]) -> None:
            for key, value in _numbers(row).items():
                live.log_metric(f"{phase}/{key}", value)
            live.next_step()

        yield log


@contextmanager
def _mlflow(mlflow: Any, run: str, settings: Mapping[str, Any]) -> Iterator[Callback]:
    mlflow.set_experiment("reprood")
    with mlflow.start_run(run_name=run):
        mlflow.log_params({key: str(value)[:500] for key, value in settings.items()})
        yield lambda phase, row: mlflow.log_metrics(
            {f"{phase}/{key}": value for key, value in _numbers(row).items()}, step=int(row["epoch"])
        )


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in row.items() if isinstance(value, int | float) and key != "epoch"}
