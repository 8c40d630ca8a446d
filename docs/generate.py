# ruff: noqa: E501  (texts of pages)
"""Write the pages of the reference that come from code: `docs/conf.py` calls this before each build.

The pages are not committed: commands from the command line's own definition, files of the configuration from the
records' schemas, columns, metrics, scores and detectors from the modules that define them, and experiment families
from the papers' files.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

GENERATED = ("commands", "configuration", "columns", "metrics", "detectors", "experiments")


def cell(text: object) -> str:
    """Return text as a cell of a Markdown table."""
    parts = " ".join(str(text).split()).replace("|", r"\|").split("`")  # every second one is code
    return "`".join(part if place % 2 else part.replace("<", "&lt;") for place, part in enumerate(parts)) or " "


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines) + "\n"


def commands() -> str:
    """Return the page of all commands: what they do, arguments and options."""
    import typer

    from reprood.cli.main import app

    parts = ["# Commands\n\n`reprood COMMAND -h` prints the same. Errors are one sentence on stderr with exit status 2, or "
             "1 for a check that does not hold.\n"]  # fmt: skip
    top: Any = typer.main.get_command(app)
    panels: dict[str, list[Any]] = {}
    for name in top.list_commands(None):
        if not top.commands[name].hidden:
            panels.setdefault(top.commands[name].rich_help_panel, []).append((name, top.commands[name]))
    for panel, entries in panels.items():
        parts.append(f"## {panel}\n")
        for name, command in entries:
            inner = getattr(command, "commands", None)
            found = [(f"{name} {sub}", one) for sub, one in inner.items()] if inner else [(name, command)]
            parts += [_command(words, one) for words, one in found]
    return "\n".join(parts)


def _command(words: str, command: Any) -> str:
    text = re.sub(r"\[/?bold\]", "`", command.help or "").strip()
    text, _, example = text.partition("Example:")
    rows = []
    for parameter in command.params:
        if parameter.name == "help":
            continue
        names = [*parameter.opts, *parameter.secondary_opts]
        named = (
            (parameter.metavar or parameter.name.upper())
            if parameter.param_type_name == "argument"
            else ", ".join(names)
        )
        default = parameter.default() if callable(parameter.default) else parameter.default
        given = default is not False and (default or default == 0)
        shown = "required" if parameter.required else f"`{default}`" if given else ""
        rows.append((f"`{named}`", getattr(parameter, "help", ""), shown))
    body = f"### reprood {words}\n\n{text.strip()}\n"
    if example:
        body += f"\n```\n{example.strip()}\n```\n"
    return body + ("\n" + table(("", "meaning", "default"), rows) if rows else "")


def configuration() -> str:
    """Return the page of the keys of all configuration files."""
    from reprood.pipeline.schemas import schemas

    titles = {
        "config": "`config/config.yaml`",
        "suite": "A suite: `config/suites/<suite>.yaml`",
        "paper": "A paper: `config/papers/<id>.yaml`",
        "dataset": "A data set: an entry of `config/datasets.yaml` or of `datasets:`",
    }
    parts = [
        "# Configuration files\n\nThe keys of the files in `config/`. Editors can check them with the JSON schemas in "
        "[workflow/schemas](../../workflow/schemas). [Configuration](../../config/README.md) explains how they work "
        "together.\n"
    ]
    for name, title in titles.items():
        schema = schemas()[f"{name}.schema.json"]
        parts.append(f"## {title}\n\n{_keys(schema, name)}")
        parts += [f"### {one['title']}\n\n{_keys(one, name)}" for one in schema.get("$defs", {}).values()
                  if one.get("properties")]  # fmt: skip
    return "\n".join(parts)


def _keys(schema: dict[str, Any], name: str) -> str:
    required = schema.get("required", ())
    rows = []
    for key, entry in schema["properties"].items():
        default = "required" if key in required else f"`{_yaml(entry['default'])}`" if "default" in entry else ""
        rows.append((f"`{key}`", _type(entry), default, entry["description"]))
    return f"{schema['description']}\n\n{table(('key', 'type', 'default', 'meaning'), rows)}"


def _yaml(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value) or '""'


def _type(entry: dict[str, Any]) -> str:
    if "$ref" in entry:
        return entry["$ref"].rsplit("/", 1)[1]
    if "enum" in entry or "const" in entry:
        return " ".join(f"`{one}`" for one in entry.get("enum", [entry.get("const")]))
    if "anyOf" in entry:
        return " or ".join(dict.fromkeys(_type(one) for one in entry["anyOf"]))
    kind = entry.get("type", "any")
    if kind == "array":
        inner = entry.get("items") or next(iter(entry.get("prefixItems", [])), {})
        return f"list of {_type(inner)}"
    if kind == "object" and isinstance(entry.get("additionalProperties"), dict):
        return f"mapping to {_type(entry['additionalProperties'])}"
    return {"object": "mapping", "string": "text", "null": "null"}.get(kind, kind)


def columns() -> str:
    """Return the page of the columns of the tables of results."""
    from reprood.audit.verdicts import COLUMNS as VERDICTS
    from reprood.evaluate.table import COLUMNS as METRICS

    text = (Path(__file__).parent / "reference" / "columns.txt").read_text(encoding="utf-8")
    described: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            part = described.setdefault(line.strip("[]"), {})
        elif line.strip():
            names, _, meaning = line.partition(": ")
            part |= {name.strip(): meaning for name in names.split(",")}
    for name, known in (("metrics.csv", METRICS), ("verdicts.csv", VERDICTS)):
        if set(described[name]) != set(known):
            raise ValueError(
                f"docs/reference/columns.txt: [{name}] differs from the code: {set(described[name]) ^ set(known)}"
            )
    parts = ["# Columns of result files\n\nOne point is one percent. Detection metrics are stored in [0, 1], errors in percent. "
             "[predictions.parquet](predictions.md) has a page of its own.\n"]  # fmt: skip
    for name, known in (("metrics.csv", METRICS), ("verdicts.csv", VERDICTS)):
        parts.append(
            f"## {name}\n\n" + table(("column", "meaning"), [(f"`{one}`", described[name][one]) for one in known])
        )
    return "\n".join(parts)


def metrics() -> str:
    """Return the page of metrics and of the names of scores."""
    from reprood.report import labels

    rows = [(f"`{name}`", title, "lower" if name in _lower() else "higher") for name, title in labels.METRICS.items()]
    scores = [(f"`{name}`", title) for name, title in labels.SCORES.items()]
    return (
        "# Metrics and scores\n\nA score is one number per sample, and **higher means more in-distribution**. Formulas and "
        "conventions are in the [Python API](python.md).\n\n## Metrics\n\n"
        + table(("name in files", "metric", "better"), rows)
        + "\n## Scores of methods\n\nA method's own scores, next to those of [detectors](detectors.md); a trailing `*` takes "
        "the best of several in hindsight.\n\n" + table(("name in files", "name in reports"), scores)
    )  # fmt: skip


def _lower() -> frozenset[str]:
    from reprood.evaluate.directions import LOWER_IS_BETTER

    return LOWER_IS_BETTER


def detectors() -> str:
    """Return the page of detectors: inputs, formula, options, paper."""
    from reprood.detectors import registry

    parts = [
        "# Detectors\n\nA detector gives one score per sample from stored outputs. Higher means more in-distribution.\n"
    ]
    for name in registry.names():
        one = registry.detector(name)
        options = [(f"`{key}`", f"`{field.default}`") for key, field in one.options.model_fields.items()]
        by = f"{one.paper.authors}: [{one.paper.title}]({one.paper.url}), {one.paper.venue} {one.paper.year}."
        reads = ", ".join(f"`{each}`" for each in one.inputs)
        parts.append(
            f"## {name}\n\n{one.label}: `{one.formula}`\n\nReads {reads or 'the outputs of its own passes'}. {by}\n"
        )
        if options:
            parts.append(table(("option", "default"), options))
    return "\n".join(parts)


def experiments(root: Path) -> str:
    """Return the page of the papers' experiment families: where each is run, its claims, its published numbers."""
    from reprood.cli.listings import LISTS

    head, rows = LISTS["experiments"](root)
    parts = ["# Experiment families\n\nWhich experiments of each paper are run, in which suite, and by which claims they are "
             "judged; `reprood list experiments` prints the same.\n"]  # fmt: skip
    if not rows:
        parts.append("No paper's file lists its families of experiments yet.\n")
    for paper in dict.fromkeys(row[0] for row in rows):
        parts.append(f"## {paper}\n\n" + table(head[1:], [row[1:] for row in rows if row[0] == paper]))
    return "\n".join(parts)


def pages(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and text of each generated page."""
    yield "commands", commands()
    yield "configuration", configuration()
    yield "columns", columns()
    yield "metrics", metrics()
    yield "detectors", detectors()
    yield "experiments", experiments(root)


def write(folder: Path, root: Path) -> None:
    """Write the generated pages; a page that would not change keeps its time, so that builds stay incremental."""
    for name, text in pages(root):
        path = folder / f"{name}.md"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
