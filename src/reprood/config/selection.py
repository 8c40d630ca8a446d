"""Which part of a suite runs, and with which changed settings: keys of the run configuration and of the command line.

    paper=cutmix   paper='[cutmix,csi]'   claims=main   only=fashion_ood/erm/0
    seeds=3   seeds='[0,1]'   set='training.epochs=3'

`reprood.pipeline.selection` applies a selection to a suite.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field

from reprood.config.records import Record
from reprood.config.suite import Count, Seed, counted
from reprood.core.errors import ReproodError
from reprood.core.files import canonical_json
from reprood.core.mappings import merged

ONLY_MAIN = "claims=main"  # the words of the selection that leaves out exploratory claims alone
MARK = "~"  # between the name of a suite and what is selected of it, in the names of folders
LONGEST = 60  # characters of a part of such a name; longer ones are replaced by a hash
SAFE = re.compile(r"[A-Za-z0-9._-]+")


def command_line_values(pairs: Iterable[str]) -> dict[str, Any]:
    """Return the values of KEY=VALUE texts, each read as YAML.

    Raises
    ------
    ReproodError
        For a text without "=", and for a value that is not YAML.

    Examples
    --------
    >>> command_line_values(["only=fashion_ood/erm", "seeds=[0, 1]", "set=training.epochs=3"])
    {'only': 'fashion_ood/erm', 'seeds': [0, 1], 'set': 'training.epochs=3'}
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ReproodError(f"--config {pair}: expected KEY=VALUE, for example --config device=cuda.")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise ReproodError(f"--config {key}: '{value[:100]}' is not valid YAML ({reason[:200]}).") from error
    return found


def nested_values(pairs: Iterable[str]) -> dict[str, Any]:
    """Return the lists and mappings among KEY=VALUE texts of Snakemake's command line.

    Examples
    --------
    >>> nested_values(["suite=quick", "datasets={mine: {channels: 3}}"])
    {'datasets': {'mine': {'channels': 3}}}
    """
    nested = (pair for pair in pairs if pair.partition("=")[2].lstrip().startswith(("[", "{")))
    return command_line_values(nested)


def names(value: Any) -> Any:
    """Return names that are given as a list or as one text with commas.

    Examples
    --------
    >>> names("cutmix, csi"), names(["cutmix"]), names(None)
    (('cutmix', 'csi'), ('cutmix',), ())
    """
    if value is None:
        return ()
    value = str(value) if isinstance(value, int) else value
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, list | tuple):
        raise ValueError("expected a name or a list of names")
    found = tuple(str(name).strip().strip("/") for name in given)
    if "" in found:
        raise ValueError("a name is empty")
    return tuple(dict.fromkeys(found))


def replicates(value: Any) -> Any:
    """Return seeds that are given as a number n (0 to n - 1), as a list, or as one text with commas.

    Examples
    --------
    >>> replicates(2), replicates("0,3"), replicates(["1"])
    ((0, 1), ['0', '3'], ['1'])
    """
    if isinstance(value, str):
        value = value.split(",") if "," in value else int(value) if value.isdecimal() else value
    if not isinstance(value, int | list | tuple):
        raise ValueError("expected a number of replicates, or a list of seeds such as seeds='[0,1]'")
    return counted(value)


def changes(value: Any) -> Any:
    """Return changed settings as one nested mapping.

    Parameters
    ----------
    value : object
        A text "KEY=VALUE" whose key may be dotted and whose value is YAML, a mapping, or a list of these.

    Raises
    ------
    ValueError
        For anything else.

    Examples
    --------
    >>> changes("training.epochs=3")
    {'training': {'epochs': 3}}
    >>> changes(["training.lr=0.1", {"training": {"epochs": 3}, "backbone.depth": 16}])
    {'training': {'lr': 0.1, 'epochs': 3}, 'backbone': {'depth': 16}}
    """
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return merged(*(_nested(str(key).split("."), one) for key, one in value.items()))
    if isinstance(value, list | tuple):
        return merged(*(changes(one) for one in value))
    key, equals, text = str(value).partition("=")
    if not equals or not key.strip():
        raise ValueError(f"'{value}' is not KEY=VALUE, for example training.epochs=3")
    if "=" in text:
        raise ValueError("give several changes as a list, for example set='[training.epochs=3, training.lr=0.1]'")
    try:
        return _nested(key.strip().split("."), yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(f"'{text[:100]}' is not valid YAML") from error


def _nested(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return dict(value)


Names = Annotated[tuple[str, ...], BeforeValidator(names, json_schema_input_type=str | tuple[str, ...])]
Replicates = Annotated[
    tuple[Seed, ...], BeforeValidator(replicates, json_schema_input_type=Count | tuple[Seed, ...]), Field(min_length=1)
]
Changes = Annotated[
    dict[str, Any],
    BeforeValidator(changes, json_schema_input_type=str | dict[str, Any] | list[str | dict[str, Any]]),
]


class Selection(Record):
    """A part of a suite.

    Attributes
    ----------
    paper : tuple of str
        Papers: only what their claims need runs, and only they are judged.
    claims : {"", "main"}
        "main": only what the main claims need runs, each on the benchmark on which it counts. Other claims are judged
        where these runs allow it.
    only : tuple of str
        Runs as `benchmark or family / method / seed`; the method and the seed may be left out.
    seeds : tuple of int or None
        The replicates of every run and study.
    set : dict
        Settings of every selected run that replace those of the suite, its benchmarks and its methods; or, below a key
        of a suite's file such as `benchmarks`, a changed value there.
    """

    paper: Names = ()
    claims: Literal["", "main"] = ""
    only: Names = ()
    seeds: Replicates | None = None
    set: Changes = {}

    @property
    def selects(self) -> bool:
        """Whether anything is selected or changed."""
        return bool(self.paper or self.claims or self.only or self.seeds is not None or self.set)

    @property
    def fixes_seeds(self) -> bool:
        """Whether the replicates are named."""
        return self.seeds is not None or any(name.count("/") > 1 for name in self.only)

    @property
    def words(self) -> str:
        """The selection as one line, in the form of the command line; empty without one."""
        seeds = None if self.seeds is None else list(self.seeds)
        parts = {"paper": ", ".join(self.paper), "claims": self.claims, "only": ", ".join(self.only), "seeds": seeds}
        found = [f"{key}={value}" for key, value in parts.items() if value]
        return "; ".join([*found, *(f"set {key}={_text(value)}" for key, value in flat(self.set).items())])

    @property
    def folder(self) -> str:
        """What is appended to the suite's name in the names of its results and reports; empty without a selection.

        Different selections have different names.

        Examples
        --------
        >>> Selection(paper="cutmix").folder, Selection(only="fashion_ood/erm", seeds=2).folder
        ('~cutmix', '~only-fashion_ood-erm~seeds-0.1')
        """
        parts = [".".join(sorted(self.paper))] if self.paper else []
        parts += [f"claims-{self.claims}"] if self.claims else []
        parts += ["only-" + ".".join(name.replace("/", "-") for name in sorted(self.only))] if self.only else []
        parts += ["seeds-" + ".".join(map(str, sorted(set(self.seeds))))] if self.seeds is not None else []
        if self.set:
            pairs = {key: _text(value) for key, value in sorted(flat(self.set).items())}
            text = "set-" + "-".join(f"{key}-{value}" for key, value in pairs.items())
            plain = all(re.fullmatch(r"[A-Za-z0-9_.]+", part) for pair in pairs.items() for part in pair)
            parts.append(text if plain else f"set-{_digest(canonical_json(self.set))}")
        return "".join(f"{MARK}{_short(part)}" for part in parts)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping with dotted keys.

    Examples
    --------
    >>> flat({"training": {"epochs": 3, "lr": 0.1}, "alpha": 1})
    {'training.epochs': 3, 'training.lr': 0.1, 'alpha': 1}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)


def _short(part: str) -> str:
    return part if len(part) <= LONGEST and SAFE.fullmatch(part) else f"{part.partition('-')[0][:20]}-{_digest(part)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
