"""What all commands share: JSON options, thread pinning, the output option."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from reprood.errors import ReproodError

Out = Annotated[Path, typer.Option("--out", help="What is written.")]


def parse(text: str, option: str) -> Any:
    """A JSON option; a mistake is one sentence."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ReproodError(f"{option} is not valid JSON ({error}); copy it from `snakemake -n -p`.") from error


def pin_threads(threads: int) -> None:
    """Pin BLAS and OpenMP before numpy or torch are imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        os.environ[name] = str(threads)
