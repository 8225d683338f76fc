"""What a finding in a LiteOS pool says beyond every finding (`findings.model`)."""

import msgspec

from heapwitness.findings.model import Damage, Finding, Header, HeaderFields


class CopyPair(msgspec.Struct, frozen=True, kw_only=True):
    """A node's header in its two copies, one or both of which were hit.

    `node` is the node's address, `held_by` that of the node that holds the backup. `trusted` is the header
    as it should be: the good copy, or what was rebuilt from the nodes around (then not `valid`).
    """

    node: int
    held_by: int | None
    header: Header
    trusted: HeaderFields | None


class LiteosFinding(Finding, frozen=True, kw_only=True):
    """A finding in a LiteOS pool.

    `node` is the address at which the victim's node starts, headers included (`victim.address` is that of
    its payload). `damage` spans all `extents`, of which there is more than one where both copies of one
    header were hit apart. `pairs` has every header of which a copy was hit.
    """

    node: int | None = None
    extents: tuple[Damage, ...] = ()
    pairs: tuple[CopyPair, ...] = ()


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that a repair changes at an address, before and after, and why."""

    address: int
    old: bytes
    new: bytes
    why: str


class Restoration(msgspec.Struct, frozen=True, kw_only=True):
    """A repair of a pool: the changes in order of address, and in sentences what could not be restored."""

    changes: tuple[Change, ...]
    unrestored: tuple[str, ...]
