"""Stores to watched bytes, kept until a check finds the damage that they did."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from heapwitness.supervise.examine import Examined

if TYPE_CHECKING:
    from heapwitness.diagnose import Caught
    from heapwitness.findings.model import Finding

_PROCESSES_LIMIT, _STORES_LIMIT = 256, 1024


@dataclass(slots=True)
class _Kept:
    caught: "Caught"
    is_told: bool = False


class WatchedStores:
    """By process; of many only the newest are kept."""

    def __init__(self) -> None:
        self._stores: OrderedDict[int, deque[_Kept]] = OrderedDict()

    def take(self, store: "Caught | None", pid: int) -> None:
        """Take down a store of process `pid`; None is none that could do damage."""
        if store is None:
            return
        self._stores.setdefault(pid, deque(maxlen=_STORES_LIMIT)).append(_Kept(store))
        if len(self._stores) > _PROCESSES_LIMIT:
            self._stores.popitem(last=False)

    def told(self, examined: Examined, pid: int, parent: int) -> Examined:
        """What was found in a process with the stores whose damage it is.

        Args:
            parent: of the process; what it inherited was stored there.
        """
        if not self._stores:
            return examined
        return replace(examined, findings=tuple(self._with_store(one, pid, parent) for one in examined.findings))

    def _with_store(self, finding: "Finding", pid: int, parent: int) -> "Finding":
        from heapwitness.diagnose import is_damage_of, with_store

        for kept in self._of(pid, parent):
            if is_damage_of(kept.caught, finding):
                self._note(pid, finding)
                return with_store(finding, kept.caught)
        return finding

    def _of(self, pid: int, parent: int) -> Iterator[_Kept]:
        yield from (one for one in self._stores.get(pid, ()) if not one.is_told)
        yield from self._stores.get(parent, ())

    def _note(self, pid: int, finding: "Finding") -> None:
        """What was stored there is put right now: later damage at the same place is of later stores."""
        from heapwitness.diagnose import is_damage_of

        for kept in self._stores.get(pid, ()):
            kept.is_told |= is_damage_of(kept.caught, finding)
