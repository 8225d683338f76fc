"""`heapwitness explain KIND`: what a kind of finding means, where it often comes from, and what to look at."""

import click

from heapwitness.report.explain import EXPLANATIONS, kinds


@click.command()
@click.argument("kind", required=False, type=click.Choice(kinds()), metavar="[KIND]")
def command(kind: str | None) -> None:
    """Say what KIND means, what it often comes from, and what to look at; without KIND, list all of them."""
    import textwrap

    from heapwitness.report.console import console

    width = min(console().width, 100)

    def wrapped(text: str, first: str = "", rest: str = "") -> None:
        click.echo(textwrap.fill(text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False))

    if kind is None:
        for name, one in EXPLANATIONS.items():
            wrapped(one.summary, f"{name:<23}", " " * 23)
        return
    (explained,) = (one for name, one in EXPLANATIONS.items() if name == kind)
    wrapped(f"{kind}: {explained.summary}")
    click.echo()
    wrapped(explained.meaning)
    for title, sentences in (("Often comes from", explained.causes), ("Look at", explained.look)):
        click.echo(f"\n{title}")
        for sentence in sentences:
            wrapped(sentence, "  * ", "    ")
    click.echo(f"\nCWE-{explained.cwe}  {explained.link}")
