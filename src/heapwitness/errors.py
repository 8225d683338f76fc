"""The errors that a user can cause: one clear sentence each, shown without a traceback."""

from collections.abc import Callable


class HeapwitnessError(Exception):
    """A sentence that says what is wrong and what to do; the command line exits with status 2."""


def each(*steps: Callable[[], object]) -> None:
    """Do all of these, whatever becomes of the others: a file that cannot be written must not cost the next one.

    Raises:
        HeapwitnessError: some of them raised it; has what each of these says.
        Exception: what else the first of them raised that did so.
    """
    failed: list[Exception] = []
    for step in steps:
        try:
            step()
        except Exception as error:  # raised when all is done
            failed.append(error)
    surprise = next((error for error in failed if not isinstance(error, HeapwitnessError)), None)
    if surprise is not None or len(failed) == 1:
        raise surprise or failed[0]
    if failed:
        raise HeapwitnessError(" Also, ".join(dict.fromkeys(map(str, failed)))) from failed[0]
