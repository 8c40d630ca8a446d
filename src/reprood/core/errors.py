"""The exception for every mistake or condition that a user can correct."""


class ReproodError(Exception):
    """A mistake or condition that the user can correct.

    The message is one clear sentence: what is wrong, where, what was expected and what to do. The command line prints
    it without a traceback and exits with status 1. The exception carries the message only: rewording it re-runs
    nothing (see `reprood.pipeline.meaning`), so no code may read the text or attributes of a caught one to decide.
    """
