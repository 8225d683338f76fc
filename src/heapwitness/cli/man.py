"""`heapwitness man`: the manual page, made from the commands themselves."""

import re
from collections.abc import Iterator

import click

from heapwitness import __version__

_STATUS = (
    ("the program's own", "nothing was found (run); 128 and the signal's number where a signal ended it"),
    ("0", "nothing was found (other commands)"),
    ("99", "something was found; run has --error-exitcode for another number"),
    ("2", "what was asked for cannot be done; a sentence on stderr says why"),
)
_ENVIRONMENT = (
    (
        "HEAPWITNESS_OPTIONS",
        "options that the command line does not give; [tool.heapwitness] of pyproject.toml comes after them",
    ),
    ("NO_COLOR, CLICOLOR=0", "no colours"),
    ("FORCE_COLOR, CLICOLOR_FORCE=1", "colours where the output is no terminal, too; NO_COLOR wins"),
    ("FORCE_HYPERLINK", "1 or 0: links to files in the terminal's text, whatever the terminal says that it is"),
    ("COLUMNS", "the width of what is shown"),
    ("GITHUB_ACTIONS, TF_BUILD", "annotations are printed, as by --annotations"),
)


@click.command()
@click.pass_context
def command(context: click.Context) -> None:
    """Print the manual page: `heapwitness man | man -l -`, or > ~/.local/share/man/man1/heapwitness.1 to keep it."""
    root = context.find_root()
    assert isinstance(root.command, click.Group)
    click.echo("\n".join(_page(root.command, root)))


def _page(group: click.Group, context: click.Context) -> Iterator[str]:
    yield f'.TH HEAPWITNESS 1 "" "heapwitness {__version__}" "User Commands"'
    yield ".SH NAME"
    yield "heapwitness \\- find who overwrote the heap"
    yield ".SH SYNOPSIS"
    yield ".B heapwitness"
    yield ".I COMMAND"
    yield "[options] ..."
    yield ".SH DESCRIPTION"
    yield _text(group.help or "")
    yield ".SH COMMANDS"
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if found is not None:
            yield from _command(name, found, context)
    yield from _table("EXIT STATUS", _STATUS)
    yield from _table("ENVIRONMENT", _ENVIRONMENT)


def _command(name: str, found: click.Command, context: click.Context) -> Iterator[str]:
    inner = click.Context(found, info_name=name, parent=context)
    yield f'.SS "{_text(" ".join(["heapwitness", name, *found.collect_usage_pieces(inner)]))}"'
    for paragraph in re.split(r"\n\s{0,200}\n", found.help or ""):
        yield ".PP"
        if paragraph.startswith("\b"):
            yield from (".nf", *(_text(line) for line in paragraph.splitlines()[1:]), ".fi")
        else:
            yield _text(" ".join(paragraph.split()))
    for parameter in found.params:
        record = parameter.get_help_record(inner)
        if record is not None and record[0] not in ("-h, --help", "--help"):
            yield ".TP"
            yield f"\\fB{_text(record[0])}\\fR"
            yield _text(" ".join(record[1].split()))


def _table(title: str, rows: tuple[tuple[str, str], ...]) -> Iterator[str]:
    yield f".SH {title}"
    for name, meaning in rows:
        yield from (".TP", f"\\fB{_text(name)}\\fR", _text(meaning))


def _text(plain: str) -> str:
    """Text that roff shows as it is."""
    escaped = plain.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped
