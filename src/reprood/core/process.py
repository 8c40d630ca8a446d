"""Thread limits of numerical libraries and the exit status of a command run inside a process."""

import atexit
import os
import sys
import traceback
from collections.abc import Callable

# Read by BLAS and OpenMP when they are imported; set before numpy or torch.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def pin_threads(threads: int) -> None:
    """Set the number of BLAS and OpenMP threads; call it before numpy or torch are imported."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)


def exit_status(run: Callable[[], None]) -> int:
    """Run a command line to its end, exit handlers included, and return the status the interpreter would exit with."""
    code = 0
    try:
        run()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code
