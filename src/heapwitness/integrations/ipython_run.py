"""What `%%heapwitness` starts: the cell under the engine, with the words behind the magic as options.

    python -m heapwitness.integrations.ipython_run COUNT [COUNT words] [more options of heapwitness run] -- PROGRAM

A word that is no option would be run in place of the cell, and an option without its value would take the next one's.
"""

import sys

from heapwitness.cli.group import require_options
from heapwitness.cli.main import main
from heapwitness.cli.run import command as run_command
from heapwitness.errors import HeapwitnessError

_MISUSED = 2


def run(words: list[str]) -> None:
    """Run it, and exit with its status."""
    try:
        require_options(run_command, "heapwitness run", words[1 : 1 + int(words[0])])
    except HeapwitnessError as error:
        print(f"heapwitness: {error}", file=sys.stderr)
        sys.exit(_MISUSED)
    main(["run", *words[1:]])


if __name__ == "__main__":
    run(sys.argv[1:])
