"""Looking at a whole pool: what is damaged, what a wrong pointer is, and repair.

An operation asks for it when a header that it needs does not verify; everything that is found is told
once, and what a copy survived of is repaired before the operation goes on.
"""

from collections.abc import Callable, Mapping

import msgspec

from heapwitness.findings.model import When
from heapwitness.liteos.diagnose.diagnose import findings_of
from heapwitness.liteos.diagnose.finding import Change, LiteosFinding
from heapwitness.liteos.diagnose.freeing import explain, mismatch
from heapwitness.liteos.diagnose.plan import apply, plan
from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.heap.walk import Walk, walk
from heapwitness.liteos.kernel.ram import Ram
from heapwitness.liteos.layout.layout import Layout

OnFinding = Callable[[LiteosFinding], None]


class Inspection:
    """Inspects one pool. `findings` collects what operations met; `on_finding` is called with each."""

    def __init__(self, ram: Ram, layout: Layout, tasks: Mapping[int, str], on_finding: OnFinding | None) -> None:
        self.findings: list[LiteosFinding] = []
        self._ram = ram
        self._layout = layout
        self._tasks = tasks
        self._on_finding = on_finding
        self._told: set[tuple[object, ...]] = set()

    def walk(self) -> Walk:
        """The pool's nodes as they are now."""
        return walk(self._ram.view, self._ram.address, self._layout)

    def findings_now(self, when: When = "check") -> list[LiteosFinding]:
        """Everything that is wrong now; nothing is told or changed."""
        view = self._view()
        return list(findings_of(view, walk(view.data, view.address, view.layout), self._tasks, when))

    def repair(self, when: When) -> None:
        """Tell everything that is wrong and was not told before, and repair what can be repaired."""
        found = self.findings_now(when)
        if not found:
            return
        self.restore()
        left = {_key(finding) for finding in self.findings_now(when)}
        for finding in found:
            if _key(finding) not in self._told:
                self.tell(msgspec.structs.replace(finding, repaired=_key(finding) not in left))
        self._told = left

    def restore(self) -> list[Change]:
        """Repair what can be repaired; every change that it took."""
        restoration = plan(self._ram.view, self._ram.address, self._layout)
        apply(self._ram.view, self._ram.address, restoration)
        return list(restoration.changes)

    def tell_mismatch(self, when: When, pointer: int, detail: str) -> None:
        """Tell that a block is released by another one than owns it."""
        view = self._view()
        walked = walk(view.data, view.address, view.layout)
        self.tell(mismatch(view, walked, pointer, self._tasks, when, detail))

    def explain(self, when: When, pointer: int) -> None:
        """Tell what a pointer is that was released and names no allocation."""
        view = self._view()
        walked = walk(view.data, view.address, view.layout)
        finding = explain(view, walked, pointer, self._tasks, when)
        if finding is not None:
            self.tell(finding)

    def tell(self, finding: LiteosFinding) -> None:
        """Keep a finding and pass it on."""
        self.findings.append(finding)
        if self._on_finding is not None:
            self._on_finding(finding)

    def _view(self) -> PoolView:
        return PoolView(bytes(self._ram.view), self._ram.address, self._layout)


def _key(finding: LiteosFinding) -> tuple[object, ...]:
    """What tells whether two findings are about the same damage."""
    damage = finding.damage
    return (finding.kind, finding.node, *(() if damage is None else (damage.address, damage.length, damage.actual)))
