"""`heapwitness restore IMAGE -o FIXED`: a copy of a dump with its pools repaired."""

from pathlib import Path

import click

from heapwitness.cli.liteos_options import FILE, image_options
from heapwitness.findings.status import FINDINGS_EXIT
from heapwitness.liteos.dump.examine import DumpOptions


@click.command()
@image_options
@click.option("-o", "--output", type=FILE, required=True, metavar="FIXED", help="Where the repaired dump is written.")
def command(options: DumpOptions, output: Path) -> int:
    """Repair the pools in IMAGE, a memory dump of a LiteOS device, and write the result to FIXED.

    FIXED has the format of IMAGE; IMAGE is never changed. Headers are restored from their backups and
    backups from headers, lost ones from the nodes around, then free lists and statistics. Every
    change is told, and what could not be restored. The exit status is 99 when damage is left.
    """
    from heapwitness.liteos.dump.examine import examine
    from heapwitness.liteos.dump.mend import fixed_file, mend, refuse_inputs, write
    from heapwitness.liteos.dump.terminal import render_mended
    from heapwitness.report.console import console
    from heapwitness.report.progress import progress

    refuse_inputs(output, (options.image, options.config, options.elf, options.tasks))
    with progress(f"reading {options.image}"):
        examined = examine(options)
    mended = mend(examined)
    write(fixed_file(examined, mended), output)
    render_mended(examined, mended, output, console())
    return FINDINGS_EXIT if any(pool.left for pool in mended) else 0
