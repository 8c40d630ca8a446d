"""The one exception that a user can cause."""


class ReproodError(Exception):
    """A mistake or a condition the user can mend.

    The message is one clear sentence: what is wrong, where, what was expected and what to do.
    The command line prints it without a traceback and exits with status 1.
    """
