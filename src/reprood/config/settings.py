"""The record of `config/config.yaml`: which suite or part of it runs, where data comes from, on which device."""

from typing import Any, Literal

from pydantic import Field, field_validator

from reprood.config.selection import Selection


class Settings(Selection):
    """The run configuration. `paper`, `claims`, `only`, `seeds` and `set` are explained at `Selection`.

    Attributes
    ----------
    suite : str
        A name under `config/suites/`, or the path of a YAML file.
    mirrors : list of str
        Folders or URLs to try before the official addresses.
    offline : bool
        Do not try official addresses.
    device : {"auto", "cpu", "cuda"}
        `auto` uses a GPU if there is one.
    checkpoint_seconds : float
        Seconds of work that a killed training may lose.
    datasets : dict
        The user's own catalogue entries by name.
    release : str
        Name of the release that `snakemake publish` builds in `published/<release>`.
    tracker : {"", "dvclive", "mlflow"}
        Gets every epoch of a training; the package must be installed.
    signing_key : str
        Path of the SSH private key that signs releases; "" leaves them unsigned.
    """

    suite: str = "quick"
    mirrors: tuple[str, ...] = ()
    offline: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    datasets: dict[str, dict[str, Any]] = {}
    release: str = Field(default="draft", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    tracker: Literal["", "dvclive", "mlflow"] = ""
    signing_key: str = ""

    @field_validator("mirrors", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        if value is None:
            return ()
        return (value,) if isinstance(value, str) else value

    @property
    def selection(self) -> Selection:
        """What of the suite runs, and with which changes."""
        return Selection.model_validate({key: getattr(self, key) for key in Selection.model_fields})
