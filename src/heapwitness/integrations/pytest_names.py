"""Names that pytest's plugin and what starts it share."""

DIRECTORY = "HEAPWITNESS_PYTEST"
"""The variable that names the directory shared with `pytest_run`."""

RUNNING = "running-"
"""How files there begin: each has the test that a process runs."""

MARKER = "heapwitness"
