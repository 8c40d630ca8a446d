"""Make a suite look finished without running it: empty outputs, and a record of every job for Snakemake.

Run in a checkout: python settle.py SUITE. For measurements of no-ops only: the files are empty.
"""

import asyncio
import gc
import os
import sys
import time
from pathlib import Path

from snakemake.cli import main
from snakemake.workflow import Workflow


async def settle(workflow: Workflow) -> int:
    """Write outputs and records of all jobs of a planned workflow; return their number."""
    dag, records = workflow.dag, workflow.persistence
    records.max_checksum_file_size = -1  # empty files have nothing to compare
    now = time.time()
    jobs = list(dag.jobs)
    for job in jobs:
        for path in map(Path, job.output):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.utime(path, (now, now))  # no input is newer than its outputs
    for job in jobs:
        if job.output:
            await records.finished(job)
    return len(jobs)


if __name__ == "__main__":
    try:
        main(["-n", "--quiet", "all", "--cores", "1", "--config", f"suite={sys.argv[1]}"])
    except SystemExit as end:
        if end.code:
            raise
    planned = [item for item in gc.get_objects() if type(item) is Workflow]
    print(asyncio.run(settle(planned[-1])))
