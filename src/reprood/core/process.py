"""Environment variables of this package, thread limits of numerical libraries, and an exit status.

The variables say how to run, never what: a result does not depend on them. docs/reference/environment.md lists them.
"""

import os

DEVICE = "REPROOD_DEVICE"
CHECKPOINT_SECONDS = "REPROOD_CHECKPOINT_SECONDS"
MIRRORS = "REPROOD_MIRRORS"
OFFLINE = "REPROOD_OFFLINE"
TRACKER = "REPROOD_TRACKER"
PRELOADED = "REPROOD_PRELOADED"

STOPPED = 75  # exit status of a training that stopped on request after writing a checkpoint (EX_TEMPFAIL)

# Read by BLAS and OpenMP when they are imported; set before numpy or torch.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def pin_threads(threads: int) -> None:
    """Set the number of BLAS and OpenMP threads; call it before numpy or torch are imported."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
