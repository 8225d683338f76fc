"""`heapwitness menuconfig`: edit a LiteOS kernel's .config in menus."""

import os
import sys
from pathlib import Path

import click


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".config"),
    show_default=True,
    help="The file to edit; made with the kernel's defaults if there is none.",
)
def command(path: Path) -> None:
    """Edit the options of a LiteOS kernel that its heap depends on.

    Lines of the file that are about anything else stay as they are.
    """
    from heapwitness.errors import HeapwitnessError
    from heapwitness.liteos.config.dotconfig import DotConfig

    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise HeapwitnessError("menuconfig needs a terminal; in a script use `heapwitness config --set SYMBOL=VALUE`.")
    try:
        import curses  # noqa: F401
    except ImportError as error:
        raise HeapwitnessError(
            "This Python has no curses, which menuconfig needs; use `heapwitness config --set SYMBOL=VALUE`."
        ) from error
    import menuconfig

    edited = DotConfig(path)
    # The name under which menuconfig saves unless the user types another.
    os.environ["KCONFIG_CONFIG"] = str(path)
    menuconfig.menuconfig(edited)
