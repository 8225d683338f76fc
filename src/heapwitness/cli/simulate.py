"""`heapwitness simulate TRACE --config .config`: the kernel's heap and ours, side by side, with faults."""

from pathlib import Path

import click

from heapwitness.cli.liteos_options import FILE, WIDTH, pointer_width
from heapwitness.findings.status import FINDINGS_EXIT


@click.command()
@click.argument("trace", type=FILE, metavar="TRACE")
@click.option("--config", type=FILE, required=True, metavar="FILE", help="The kernel's .config.")
@click.option("--width", type=WIDTH, help="Bits of a pointer, where --config and TRACE do not tell.")
@click.option(
    "--inject",
    "injected",
    multiple=True,
    metavar="FAULT",
    help="A fault right after an operation, such as overflow@7:16; may be repeated. Kinds: overflow, underflow, bit, "
    "header, backup, both, links, prenode, gap, write, wild-free, double-free (docs/liteos.md).",
)
@click.option("--tasks", type=FILE, metavar="FILE", help='Names of tasks, a line such as "5 network" for each.')
@click.option("--dump", type=FILE, metavar="FILE", help="Write the kernel's pool as it is at the end to a file, raw.")
@click.option("--all", "everything", is_flag=True, help="Show every operation, not only those that somebody speaks of.")
@click.option("--full", is_flag=True, help="Show our findings in full, not only their sentence.")
def command(
    trace: Path,
    config: Path,
    width: str | None,
    injected: tuple[str, ...],
    tasks: Path | None,
    dump: Path | None,
    everything: bool,
    full: bool,
) -> int:
    """Run TRACE, a recorded trace or a log of allocations, on the kernel's heap and on ours.

    After each operation that somebody has something to say about stands what the kernel answers and
    prints, and what ours finds. The exit status is 99 when there is a finding.
    """
    from heapwitness.liteos.config.config import Config
    from heapwitness.liteos.dump.mend import refuse_inputs, write
    from heapwitness.liteos.firmware import tasknames
    from heapwitness.liteos.simulate import faults
    from heapwitness.liteos.simulate import trace as traces
    from heapwitness.liteos.simulate.simulate import Simulation
    from heapwitness.liteos.simulate.text import render
    from heapwitness.report.console import console

    parsed = traces.load(trace)
    if dump is not None:
        refuse_inputs(dump, (trace, config, tasks))
    simulation = Simulation(
        parsed,
        Config.load(config, pointer_width(width) or pointer_width(parsed.width)),
        [faults.parse(text) for text in injected],
        None if tasks is None else tasknames.load(tasks),
    )
    findings = render(simulation.run(), console(), everything=everything, full=full)
    if dump is not None:
        write(simulation.kernel_bytes(), dump)
    return FINDINGS_EXIT if findings else 0
