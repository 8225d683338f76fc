"""How a command that looks for findings ends."""

from typing import Final

FINDINGS_EXIT: Final = 99
"""The exit status where there is a finding, or damage is left, unless another one is asked for."""
