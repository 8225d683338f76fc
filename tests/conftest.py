"""Its place lets tests import `support`, which has what tests of several kinds share.

Tests marked `long` are run with `--long` only; each has a short form that always runs.
"""

import signal

import pytest
from hypothesis import settings

# No test fails by the clock, and what passed in one run passes in the next.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

# A shell's background jobs ignore the interrupt key, and programs pass that on; those that are tested shall not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long forms of tests, too (about half an hour)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="needs --long"))
