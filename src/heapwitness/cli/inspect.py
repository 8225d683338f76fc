"""`heapwitness inspect IMAGE`: what is damaged in a LiteOS device's heap dump, and who uses the heap."""

import sys
from pathlib import Path
from typing import Literal

import click

from heapwitness.cli.documents import FILE, FORMAT, document_options
from heapwitness.cli.failures import telling
from heapwitness.cli.liteos_options import Address, image_options
from heapwitness.errors import each
from heapwitness.findings.status import FINDINGS_EXIT
from heapwitness.liteos.dump.examine import DumpOptions
from heapwitness.outputs import STDOUT, Outputs


@click.command()
@image_options
@click.option("--free", "freed", type=Address(), help="Judge this pointer as if it were freed now.")
@click.option("--kernel-text", is_flag=True, help="Print what the kernel would print, and nothing else.")
@click.option("--json", type=FILE, metavar="FILE", help="Write the report to a file, as JSON; - for stdout.")
@document_options
@click.option("--map", is_flag=True, help="Add a map of the heap to the report; the HTML page has it anyway.")
@FORMAT
@click.option("--quiet", is_flag=True, help="Say nothing when nothing was found.")
def command(
    options: DumpOptions,
    freed: int | None,
    kernel_text: bool,
    json: Path | None,
    outputs: Outputs,
    map: bool,
    format: Literal["short", "full"],
    quiet: bool,
) -> int:
    """Find the damage in IMAGE, a memory dump of a LiteOS device: raw, gzip, Intel HEX, S-records or ELF.

    Pools are found by themselves. Without --config and --elf the layout is guessed from the bytes.
    --kernel-text prints what LOS_MemBadNodeShow would (with --free: what LOS_MemFree would).
    The exit status is 99 when there is a finding.
    """
    from heapwitness.liteos.dump.document import document
    from heapwitness.liteos.dump.examine import examine, with_release
    from heapwitness.liteos.dump.kernel_text import bad_nodes, release
    from heapwitness.liteos.dump.terminal import render
    from heapwitness.report import documents
    from heapwitness.report.console import console
    from heapwitness.report.json import write
    from heapwitness.report.progress import progress
    from heapwitness.supervise.output import check_apart, check_writable

    written = (json, *(path for _, path in outputs.files))
    for path in written:
        check_writable(path)
    check_apart(written, (options.image, options.config, options.elf, options.tasks))
    with progress(f"reading {options.image}"):
        examined = examine(options)
    if freed is not None:
        examined = with_release(examined, freed)

    def write_json() -> None:
        if json is not None:
            write(document(examined, mapped=map), json)

    def write_others() -> None:
        documents.write(document(examined, mapped=map or outputs.html is not None), outputs)

    @telling()
    def show() -> None:
        shown = console(sys.stderr if STDOUT in written else None)
        if kernel_text:
            text = "".join(bad_nodes(examined)) if freed is None else release(examined, freed)
            click.echo(text, nl=False)
        elif examined.findings or not quiet:
            render(examined, shown, short=format == "short")
        sys.stdout.flush()

    each(write_json, write_others, show)
    return FINDINGS_EXIT if examined.findings else 0
