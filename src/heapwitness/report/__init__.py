"""The data model of findings and how they are shown.

`model` has the records, `json` writes and reads them, `terminal` shows them; `fold` counts repetitions.
"""

from heapwitness.report.folding import fold

__all__ = ["fold"]
