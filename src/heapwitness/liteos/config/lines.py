"""Text from outside, line by line: only a newline ends a line, whatever else an editor would take for an end."""

from collections.abc import Iterator

BLANKS = " \t\r"
"""What stands around words without being one; of a line's end CR LF, the CR."""


def numbered(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1, without their newlines, and one at a time: there may be millions."""
    number, at = 0, 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        number += 1
        yield number, text[at:end]
        at = end + 1


def is_word(text: str) -> bool:
    """Whether it is letters, digits and underscores."""
    return bool(text) and text.replace("_", "0").isalnum()
