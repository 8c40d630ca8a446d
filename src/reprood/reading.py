"""Reading configuration files: YAML without surprises, and one sentence for what is wrong with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from reprood.errors import ReproodError


def explain(error: ValidationError, where: str) -> ReproodError:
    """Turn pydantic's report into one sentence that names the file, the key and what was expected."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "this key is not known; check its spelling or remove it"
    elif first["type"] == "missing":
        message = "this key is missing; add it"
    else:
        given = repr(first.get("input"))
        message += f" (given: {given if len(given) < 80 else given[:77] + '...'})" if first["loc"] else ""
    more = len(error.errors()) - 1
    return ReproodError(
        f"{where}: {key}: {message}" + (f" ({more} more problem{'s' * (more > 1)} in it)." if more else ".")
    )


def read_yaml(path: Path) -> Any:
    """Read a YAML file (safe loader).

    Raises
    ------
    ReproodError
        When it is missing, not YAML, or names a key twice.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            return yaml.load(stream, Loader=_Loader)
    except FileNotFoundError as error:
        raise ReproodError(f"{path} does not exist; check the name.") from error
    except yaml.YAMLError as error:
        raise ReproodError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses doubled keys (YAML would silently keep the last)."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' is given twice", key_node.start_mark)
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge: later layers win, mappings are merged key by key."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result
