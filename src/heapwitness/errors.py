"""The errors that a user can cause: one clear sentence each, shown without a traceback."""


class HeapwitnessError(Exception):
    """A sentence that says what is wrong and what to do; the command line exits with status 2."""
