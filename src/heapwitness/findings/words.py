"""How numbers are said, wherever a finding is put into words, and which line the main thread was in."""

_MAIN = "The thread runs no Python code; the main thread was in "


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 byte", "2,000 bytes"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def be(number: int) -> str:
    """The verb behind it: "is" or "are"."""
    return "is" if number == 1 else "are"


def with_main(detail: str, line: str) -> str:
    """What is said of a finding of a thread without Python, with the line that the main thread was in."""
    return f"{detail} {_MAIN}{line} then.".strip()


def main_of(detail: str) -> str:
    """What `with_main` added; "" for nothing."""
    return detail.partition(_MAIN)[2]
