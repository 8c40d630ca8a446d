"""`reprood why`: what would run and why; see `reprood.pipeline.why`."""

from pathlib import Path
from typing import Annotated

import typer


def why(
    files: Annotated[list[Path] | None, typer.Argument(help="Files that are edited, or will be.")] = None,
    suite: Annotated[str, typer.Option(help="Name or path of the suite; default: that of config/config.yaml.")] = "",
) -> None:
    """List what an edit of FILES re-runs and through which imports; without files, what would run now and why.

    Example: reprood why src/reprood/methods/godin.py
    """
    from reprood.core.yaml import read_yaml
    from reprood.pipeline.plan import Plan
    from reprood.pipeline.why import explain_edit, explain_plan

    root = Path()
    if not files:
        print("\n".join(explain_plan(suite, root)))
        return
    settings = {**(read_yaml(root / "config" / "config.yaml") or {}), **({"suite": suite} if suite else {})}
    plan = Plan(settings, root)
    for path in files:
        print("\n".join(explain_edit(path, plan)))
