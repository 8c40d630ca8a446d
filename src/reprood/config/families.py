"""Families of benchmarks: fixed units (`members`) or random splits into known and unknown classes (`splits`).

Replicate r of a family runs on one of its benchmarks, its members: on member r mod K of K fixed ones, in the order of
the file, or on the r-th random split.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field, model_validator

from reprood.config.records import Record
from reprood.core.mappings import merged
from reprood.core.seeds import hashed_seed

ROLES = ("known", "unknown")  # what `classes` of a source may say instead of numbers
NOTE = "Every replicate has its own random split into {known} known and {unknown} unknown classes."


class Splits(Record):
    """Random splits of the classes of a data set, one for each replicate.

    Attributes
    ----------
    classes : int
        Number of classes.
    known : int
        Number of known classes.
    seed : int
        Seed of the draws.
    """

    classes: int = Field(ge=2, le=100_000)
    known: int = Field(ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _some_are_unknown(self) -> "Splits":
        if self.known >= self.classes:
            raise ValueError(
                f"splits: known is {self.known} of {self.classes} classes; expected fewer than {self.classes}, so that "
                "some are unknown"
            )
        return self

    def draw(self, replicate: int) -> dict[str, list[int]]:
        """Return the known and the unknown classes of a replicate, ascending.

        Examples
        --------
        >>> Splits(classes=6, known=4).draw(0)
        {'known': [0, 2, 3, 5], 'unknown': [1, 4]}
        """
        order = sorted(range(self.classes), key=lambda one: hashed_seed("split", self.seed, replicate, one))
        return {"known": sorted(order[: self.known]), "unknown": sorted(order[self.known :])}


def is_family(record: Any) -> bool:
    """Return whether the record of a benchmark, as in the file, describes a family."""
    return isinstance(record, Mapping) and bool(record.get("members") or record.get("splits"))


def expand(name: str, record: Mapping[str, Any], replicates: Iterable[int]) -> dict[str, dict[str, Any]]:
    """Return the benchmarks of a family by name.

    Parameters
    ----------
    name : str
        The family.
    record : mapping
        Its record as in the file.
    replicates : iterable of int
        Those that run: only their random splits are drawn. All fixed members are returned.

    Raises
    ------
    ValueError
        For a family with members and splits, for members or splits that are not as described above, and for two
        members that are the same.
    """
    if record.get("members") and record.get("splits"):
        raise ValueError(f"benchmark {name}: has 'members' and 'splits'; keep one of them")
    common = {key: value for key, value in record.items() if key not in ("members", "splits")}
    if record.get("splits"):
        return _random(name, common, record["splits"], replicates)
    if not isinstance(record["members"], Mapping):
        raise ValueError(f"benchmark {name}: 'members' must be a mapping of names to changes")
    found = {}
    for member, changes in record["members"].items():
        if not isinstance(changes or {}, Mapping):
            raise ValueError(f"benchmark {name}, member {member}: expected a mapping of changes")
        title = f"{record.get('title', name)}: {str(member).replace('_', ' ')}"
        own = {"family": name, "member": str(member), "title": title}
        found[f"{name}_{member}"] = merged(common, changes or {}, own)
    _require_different(name, found)
    return found


def _question(value: Any, key: str = "") -> Any:
    """Return what a benchmark asks, whatever its name, and in whatever order its classes are numbered."""
    if isinstance(value, Mapping):
        named = ("family", "member", "title", "note")
        return sorted((str(name), _question(inner, str(name))) for name, inner in value.items() if name not in named)
    return sorted(map(repr, value)) if key == "classes" and isinstance(value, list | tuple) else repr(value)


def _require_different(name: str, members: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ValueError for two members that are the same benchmark, which would count as two replicates."""
    seen: dict[str, str] = {}
    for record in members.values():
        content = repr(_question(record))
        if content in seen:
            raise ValueError(
                f"benchmark {name}: the members {seen[content]} and {record['member']} are the same, and the same unit "
                "is no second replicate; change or remove one of them"
            )
        seen[content] = str(record["member"])


def _random(name: str, common: Mapping[str, Any], splits: Any, replicates: Iterable[int]) -> dict[str, dict[str, Any]]:
    """Return the benchmarks of some random splits."""
    drawn = Splits.model_validate(splits)
    note = NOTE.format(known=drawn.known, unknown=drawn.classes - drawn.known)
    note = f"{common.get('note') or ''} {note}".strip()
    return {
        f"{name}_s{replicate}": {
            **_with_classes(common, drawn.draw(replicate)),
            "family": name,
            "member": f"s{replicate}",
            "replicate": replicate,
            "title": f"{common.get('title', name)}: s{replicate}",
            "note": note,
        }
        for replicate in sorted(set(replicates))
    }


def _with_classes(record: Mapping[str, Any], classes: Mapping[str, list[int]]) -> dict[str, Any]:
    """Return a benchmark's record in which `classes: known` and `classes: unknown` are numbers."""

    def one(source: Any) -> Any:
        role = source.get("classes") if isinstance(source, Mapping) else None
        return {**source, "classes": classes[role]} if isinstance(role, str) and role in classes else source

    changed = {key: one(record[key]) for key in ("train", "validation", "test") if key in record}
    groups = {key: record[key] for key in ("ood", "auxiliary") if isinstance(record.get(key), Mapping)}
    changed |= {key: {name: one(source) for name, source in group.items()} for key, group in groups.items()}
    return {**record, **changed}
