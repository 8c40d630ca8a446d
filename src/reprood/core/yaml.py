"""Reading configuration files: a safe subset of YAML, and one sentence for every problem with a file."""

import math
from pathlib import Path
from typing import Any

import yaml

from reprood.core.errors import ReproodError


def read_yaml(path: Path) -> Any:
    """Read a YAML file of texts, numbers, booleans, lists and mappings with text as keys.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    object
        The content; None for an empty file.

    Raises
    ------
    ReproodError
        When the file is missing or not YAML, repeats a key, contains a value of another kind (a date, an object of a
        programming language, NaN), refers to itself, or becomes too large when its anchors are expanded.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise ReproodError(
                f"{path} has {size / 1e6:.1f} MB; a settings file may have at most {LARGEST / 1e6:.0f} MB."
            )
        text = path.read_text(encoding="utf-8")
        try:
            return _constructed(text)
        except yaml.composer.ComposerError:
            yaml.compose(text, Loader=yaml.SafeLoader)  # fails too, and its message names the alias, unlike libyaml's
            raise
    except FileNotFoundError as error:
        raise ReproodError(f"{path} does not exist; check the name.") from error
    except OSError as error:
        raise ReproodError(f"{path} cannot be read ({error.strerror}); check the name and the permissions.") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a number that Python rejects
        text = " ".join(str(error).split())
        raise ReproodError(f"{path} is not valid YAML: {text[:600]}.") from error
    except RecursionError as error:
        raise ReproodError(f"{path} is not valid YAML: it is nested too deeply.") from error


LARGEST = 2_000_000  # bytes of a file
LARGEST_EXPANDED = 200_000  # values after anchors are expanded
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
    """Return the number of values of a node after its anchors are expanded.

    Raises
    ------
    yaml.YAMLError
        When the node refers to itself, has too many values, or is of a kind that settings do not have.
    """
    mark = node.start_mark
    if node.tag not in KINDS:
        raise yaml.constructor.ConstructorError(None, None, f"values of the kind {node.tag} are not allowed", mark)
    if id(node) in known:
        if known[id(node)] < 0:
            raise yaml.constructor.ConstructorError(None, None, "an anchor must not contain itself", mark)
        return known[id(node)]
    known[id(node)] = -1
    inner = node.value if isinstance(node, yaml.CollectionNode) else []
    total = 1
    for part in inner:
        for one in part if isinstance(part, tuple) else (part,):
            total += _count(one, known)
        if total > LARGEST_EXPANDED:
            raise yaml.constructor.ConstructorError(
                None, None, f"it has more than {LARGEST_EXPANDED:,} values after its anchors are expanded", mark
            )
    known[id(node)] = total
    return total


class _Loader(yaml.CSafeLoader):
    """A safe loader that rejects repeated keys (YAML would silently keep the last); dates remain text."""


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
        if not isinstance(key, str):  # everything is also written as JSON, whose keys are text
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {repr(key)[:60]} is not text; put it in quotes", key_node.start_mark
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
