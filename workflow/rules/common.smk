# Shared by all rules: the plan (configuration, suite, catalogue) and the functions that answer for wildcards.
import sys
from pathlib import Path

from reprood.errors import ReproodError
from reprood.workflow import (
    FIGURES,
    MODEL_FILES,
    SPLIT_FILES,
    TABLES,
    Plan,
    code,
    environment,
)

try:
    plan = Plan(config, Path(workflow.basedir))
except ReproodError as mistake:
    sys.exit(f"reprood: error: {mistake}")

shell.prefix(plan.shell_prefix())


wildcard_constraints:
    dataset="[a-z0-9_]+",
    benchmark="[a-z0-9_]+",
    method="[a-z0-9_]+",
    split="[a-z0-9_]+",
    seed="[0-9]+",
    figure="[a-z0-9_]+",
    table="[a-z0-9_]+",


def split_files(folder):
    """The four files of a split's folder."""
    return [f"{folder}/{name}" for name in SPLIT_FILES]
