"""Which modules of the package an import loads."""

import functools
import json
import subprocess
import sys

PROGRAM = """
import importlib, json, os, sys
import matplotlib, numpy, pandas, pyarrow.parquet, scipy.stats, torch, torchvision  # children load only the package
for entry in json.loads(sys.argv[1]):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        importlib.import_module(entry)
        print(json.dumps([entry, sorted(m for m in sys.modules if m.split(".")[0] == "reprood")]), flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{entry} cannot be imported")
"""


@functools.cache
def imported_by(entries: tuple[str, ...]) -> dict[str, set[str]]:
    """Import each module in a process that has not imported the package; return what it then has of the package."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(entries)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return {entry: set(names) for entry, names in map(json.loads, lines)}
