"""Compare the training recipes of a claim's sides: they may differ only in what the claim is about. No torch.

Shared settings must be equal unless the claim declares them under `differs`: the seeds, the precision, the network and
its options, every training phase (optimiser, rate, schedule, epochs, batches, weight decay, augmentation), and, for two
different methods, every further setting of the same name. A setting that only one of two methods has, and the further
settings of two variants of one method, are what the claim is about: they are listed and never rejected.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STEPPED = ("multistep", "floor_steps", "gradual_multistep")  # schedules that use `milestones` and `gamma`


@dataclass(frozen=True)
class Recipe:
    """How a side of a claim is trained on one benchmark.

    Attributes
    ----------
    method : str
        Name in the suite.
    use : str
        Module of the method.
    settings : mapping
        All settings, with defaults resolved.
    backbone : mapping
        The network's name and options.
    precision : str
    seeds : tuple of int
    """

    method: str
    use: str
    settings: Mapping[str, Any]
    backbone: Mapping[str, Any]
    precision: str
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Change:
    """A setting with different values on two sides: its dotted name, both values, and whether it must be declared."""

    name: str
    first: Any
    second: Any
    shared: bool

    def __str__(self) -> str:
        """Return `name first/second`."""
        return f"{self.name} {self.first}/{self.second}"


def effective(phase: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a training phase that have an effect; how often errors are monitored has none.

    Examples
    --------
    >>> effective({"schedule": "constant", "milestones": (0.5,), "lr": 0.1, "monitor_every": 5})
    {'schedule': 'constant', 'lr': 0.1}
    """
    schedule = str(phase.get("schedule", ""))
    unused = {key for key in phase if key.startswith("monitor")}
    if "schedule" in phase:
        unused |= set() if schedule in STEPPED else {"milestones"}
        unused |= set() if schedule in (*STEPPED, "imagenet_steps") else {"gamma"}
        unused |= set() if schedule.startswith("cosine") else {"final_lr"}
        unused |= set() if schedule.startswith(("warmup", "gradual")) else {"warmup_factor"}
        unused |= set() if phase.get("warmup_epochs") else {"warmup_start"}
    if "augment" in phase and "crop" not in str(phase["augment"]):
        unused.add("crop_padding")
    unused.add("smallest_batch")  # only keeps batch statistics of one or two images out
    return {key: value for key, value in phase.items() if key not in unused}


def changes(first: Recipe, second: Recipe) -> list[Change]:
    """Return every setting whose value differs between two sides, in a fixed order."""
    if first.method == second.method:  # two scores of the same trained models
        return []
    found = _different("backbone", first.backbone, second.backbone)
    for name in ("precision", "seeds"):
        pair = getattr(first, name), getattr(second, name)
        if pair[0] != pair[1]:
            found.append(Change(name, *pair, shared=True))
    names = dict.fromkeys([*first.settings, *second.settings])
    for name in names:
        if not (name in first.settings and name in second.settings):
            owner = first if name in first.settings else second
            found.append(Change(name, *_of(owner is first, owner.settings[name]), shared=False))
            continue
        one, other = first.settings[name], second.settings[name]
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += _different(name, effective(one), effective(other))
        elif one != other:
            phase = isinstance(one, Mapping) or isinstance(other, Mapping)
            found.append(Change(name, one, other, shared=phase or first.use != second.use))
    return found


def _of(is_first: bool, value: Any) -> tuple[Any, Any]:
    return (value, "none") if is_first else ("none", value)


def _different(prefix: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Change]:
    names = [name for name in one if name in other] if prefix != "backbone" else dict.fromkeys([*one, *other])
    return [
        Change(f"{prefix}.{name}", one.get(name), other.get(name), shared=True)
        for name in names
        if one.get(name) != other.get(name)
    ]


def undeclared(found: Iterable[Change], declared: Sequence[str]) -> list[Change]:
    """Return the shared settings that differ although the claim does not declare them.

    Examples
    --------
    >>> epochs = Change("training.epochs", 200, 300, shared=True)
    >>> undeclared([epochs], ["training.lr"]) == [epochs], undeclared([epochs], ["training"])
    (True, [])
    """
    return [one for one in found if one.shared and not any(covers(name, one.name) for name in declared)]


def covers(declared: str, name: str) -> bool:
    """Return whether a declared name is a setting's name or that of a group it belongs to."""
    return name == declared or name.startswith(f"{declared}.")
