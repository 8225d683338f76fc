"""`heapwitness completion SHELL`: what a shell needs to complete commands, options and kinds."""

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")
_PROGRAM, _VARIABLE = "heapwitness", "_HEAPWITNESS_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print what completes commands, options and kinds in SHELL.

    \b
    bash: heapwitness completion bash > ~/.local/share/bash-completion/completions/heapwitness
    zsh:  heapwitness completion zsh > a directory of $fpath, as _heapwitness
    fish: heapwitness completion fish > ~/.config/fish/completions/heapwitness.fish
    """
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(context.find_root().command, {}, _PROGRAM, _VARIABLE).source())
