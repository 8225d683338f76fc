"""`pytest --heapwitness`: the test that damages the heap fails, with the report.

Without the engine pytest starts itself again under it (`pytest_run.py`). Then `pytest_checks` checks the heap after
each test's setup, call and teardown. Without the option nothing is imported, and nothing is done.
"""

import argparse
import contextlib
import os
import sys
from typing import Any

import pytest

from heapwitness.integrations.pytest_names import DIRECTORY

_XDIST = "PYTEST_XDIST_WORKER"
_MARKED = (
    "heapwitness(poison, check_every, check): for this test alone, under --heapwitness: hold released blocks back "
    "(poison=True), check a part of the heap every so many operations (check_every=N), or do not check (check=False)."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """See pytest."""
    group = parser.getgroup("heapwitness")
    group.addoption(
        "--heapwitness",
        action="store_true",
        default=None,
        help="Run the tests on a heap whose headers have witnesses, and fail those that damage it.",
    )
    group.addoption(
        "--no-heapwitness", action="store_false", dest="heapwitness", help="Do not, whatever the ini-file says."
    )
    group.addoption(
        "--heapwitness-options",
        metavar="WORDS",
        help="Options of `heapwitness run` for it, as in '--poison --stacks full'.",
    )
    group.addoption(
        "--heapwitness-checks",
        choices=("spread", "each"),
        help="Check after each phase of each test, or spread checks so that they take a tenth of the time, "
        "once they took half a second (default).",
    )
    parser.addini("heapwitness", "as --heapwitness", "bool", default=False)
    parser.addini("heapwitness_options", "as --heapwitness-options", "args", default=[])
    parser.addini("heapwitness_checks", "as --heapwitness-checks", default="spread")


def pytest_configure(config: pytest.Config) -> None:
    """Check from now on."""
    config.addinivalue_line("markers", _MARKED)
    if not _is_wanted(config, config.option):
        return
    from heapwitness import inside
    from heapwitness.integrations.pytest_checks import Checks

    asked = config.option.heapwitness_checks or config.getini("heapwitness_checks")
    if asked not in ("spread", "each"):
        raise pytest.UsageError(f"heapwitness_checks must be spread or each, and not {asked!r}.")
    if inside.is_inside():
        config.pluginmanager.register(Checks(os.environ.get(DIRECTORY, ""), each=asked == "each"), "heapwitness-checks")
    elif hasattr(config, "workerinput"):
        raise pytest.UsageError("--heapwitness: this worker runs without the engine, so nothing would be checked.")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Start again under the engine, before conftest files are imported, which may take long. What stands in the way is
    told later."""
    options = early_config.known_args_namespace
    in_the_way = _XDIST in os.environ or DIRECTORY in os.environ or not _is_command(early_config)
    if in_the_way or not _is_wanted(early_config, options):
        return
    from heapwitness import inside

    if inside.is_inside():
        return
    with contextlib.suppress(pytest.UsageError):
        _start_again(early_config, options)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Start again under the engine, unless it is there."""
    if not _is_wanted(config, config.option) or hasattr(config, "workerinput"):
        return
    from heapwitness import inside

    if inside.is_inside():
        return
    if not _is_command(config):
        raise pytest.UsageError("--heapwitness needs pytest to be started as a command, not by another program.")
    if DIRECTORY in os.environ:
        raise pytest.UsageError("--heapwitness: the engine could not be loaded into pytest.")
    _start_again(config, config.option)


def _start_again(config: pytest.Config, options: argparse.Namespace) -> None:
    """Become `pytest_run`.

    Raises:
        pytest.UsageError: its options make no sense.
    """
    given = _options(config, options)
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    run = ["-m", "heapwitness.integrations.pytest_run", str(len(given)), *given, sys.executable, *sys.orig_argv[1:]]
    os.execv(sys.executable, [sys.executable, *run])


def _is_command(config: pytest.Config) -> bool:
    return list(config.invocation_params.args) == sys.argv[1:]


def _is_wanted(config: pytest.Config, options: argparse.Namespace) -> bool:
    asked = options.heapwitness
    try:
        return bool(config.getini("heapwitness") if asked is None else asked)
    except (ValueError, pytest.UsageError, TypeError) as error:
        raise pytest.UsageError(f"heapwitness in the ini-file must be true or false: {error}.") from error


def _options(config: pytest.Config, options: argparse.Namespace) -> list[str]:
    """Options of `heapwitness run`: those of the ini-file, and then those of the command line, which win."""
    import shlex

    try:
        given = shlex.split(options.heapwitness_options or "")
    except ValueError as error:
        raise pytest.UsageError(f"--heapwitness-options: {str(error).lower()}.") from error
    return [*config.getini("heapwitness_options"), *given]
