"""Reading configuration files: YAML without surprises, and one sentence for what is wrong with it."""

import math
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from reprood.core.errors import ReproodError


def explain(error: ValidationError, where: str) -> ReproodError:
    """Turn pydantic's report into one sentence that names the file, the key and what was expected."""
    first = error.errors()[0]
    key = ".".join(str(part)[:80] for part in first["loc"]) or "the file"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "this key is not known; check its spelling or remove it"
    elif first["type"] == "missing":
        message = "this key is missing; add it"
    else:
        given = reprlib.repr(first.get("input"))  # bounded: an anchor may stand for millions of values
        message += f" (given: {given if len(given) < 80 else given[:77] + '...'})" if first["loc"] else ""
    more = len(error.errors()) - 1
    return ReproodError(
        f"{where}: {key}: {message}" + (f" ({more} more problem{'s' * (more > 1)} in it)." if more else ".")
    )


def read_yaml(path: Path) -> Any:
    """Read a YAML file: texts, numbers, true and false, lists and mappings with text as keys, nothing else.

    Raises
    ------
    ReproodError
        When it is missing, not YAML, names a key twice, holds a value of another kind (a date, an object of a
        programming language, NaN), refers to itself, or grows beyond reason when its anchors are written out.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise ReproodError(
                f"{path} has {size / 1e6:.1f} MB; a file of settings has at most {LARGEST / 1e6:.0f} MB."
            )
        return _constructed(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ReproodError(f"{path} does not exist; check the name.") from error
    except OSError as error:
        raise ReproodError(f"{path} cannot be read ({error.strerror}); check the name and who may read it.") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or a number that Python refuses
        text = " ".join(str(error).split())
        raise ReproodError(f"{path} is not valid YAML: {text[:600]}.") from error
    except RecursionError as error:
        raise ReproodError(f"{path} is not valid YAML: it is nested too deeply.") from error


LARGEST = 2_000_000  # bytes of a file
GROWN = 200_000  # values, with anchors written out
KINDS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}


def _constructed(text: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for, its anchors written out.

    Raises
    ------
    yaml.YAMLError
        When it refers to itself, stands for too many, or is of a kind that settings do not have.
    """
    mark = node.start_mark
    if node.tag not in KINDS:
        raise yaml.constructor.ConstructorError(None, None, f"the kind {node.tag} is not read", mark)
    if id(node) in known:
        if known[id(node)] < 0:
            raise yaml.constructor.ConstructorError(None, None, "an anchor that holds itself is not read", mark)
        return known[id(node)]
    known[id(node)] = -1
    inner = node.value if isinstance(node, yaml.CollectionNode) else []
    total = 1
    for part in inner:
        for one in part if isinstance(part, tuple) else (part,):
            total += _count(one, known)
        if total > GROWN:
            raise yaml.constructor.ConstructorError(
                None, None, f"with its anchors written out it has more than {GROWN:,} values, which are not read", mark
            )
    known[id(node)] = total
    return total


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses doubled keys (YAML would silently keep the last); dates stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if not tag.endswith(":timestamp")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):  # JSON, to which everything is written, has text only
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {repr(key)[:60]} is no text; put it in quotes", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' is given twice", key_node.start_mark)
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


def _finite(loader: _Loader, node: yaml.ScalarNode) -> float:
    number = loader.construct_yaml_float(node)
    if not math.isfinite(number):
        raise yaml.constructor.ConstructorError(None, None, f"the number {node.value} is not finite", node.start_mark)
    return number


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_constructor("tag:yaml.org,2002:float", _finite)


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge: later layers win, mappings are merged key by key."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result
