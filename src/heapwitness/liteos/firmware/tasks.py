"""The tasks of a dump: what each number is called in a report, and which of them exist."""

from collections.abc import Mapping
from typing import Self

import msgspec

from heapwitness.liteos.firmware.firmware import Task


class Tasks(msgspec.Struct, frozen=True):
    """`names` are for reports. `ended` are numbers that the firmware's task table gives to no task."""

    names: Mapping[int, str]
    ended: frozenset[int] = frozenset()

    @classmethod
    def of(cls, table: Mapping[int, Task], given: Mapping[int, str], limit: int) -> Self:
        """The tasks by the firmware's table; names that the user gives win.

        Args:
            table: tasks by the firmware and the dump.
            given: names by number.
            limit: how many tasks the kernel can have; the number behind the last one stands for no task.
        """
        found = {number: _called(task) for number, task in table.items()}
        ended = frozenset(number for number, task in table.items() if not task.exists and number not in given)
        return cls({limit: f"{limit} (no task: system start or interrupt)"} | found | dict(given), ended)

    def kernels(self, number: int) -> str | None:
        """What the kernel calls a task; None for one that does not exist."""
        return None if number in self.ended else self.names.get(number, f"task{number}")


def _called(task: Task) -> str:
    name = task.name or str(task.number)
    return name if task.exists else f"{name} (deleted)"
