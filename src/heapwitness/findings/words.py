"""How numbers are said, wherever a finding is put into words."""


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 byte", "2,000 bytes"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def be(number: int) -> str:
    """The verb behind it: "is" or "are"."""
    return "is" if number == 1 else "are"
