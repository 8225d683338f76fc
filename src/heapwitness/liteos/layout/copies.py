"""One copy of a control header as bytes: which of them the other copy vouches for, and the copy that fields ask for.

Names of fields are the kernel's, as its own messages and debug information have them.
"""

import struct
from typing import Final

import msgspec

from heapwitness.findings.model import HeaderFields
from heapwitness.liteos.layout.layout import ControlHeader, Field, Layout

HEXADECIMAL: Final = frozenset(
    ("freeNodeInfo.pstPrev", "freeNodeInfo.pstNext", "magic", "preNode", "checksum", "sizeAndFlag")
)
"""Fields whose values are read in hexadecimal."""

Ranges = tuple[tuple[int, int], ...]


def saved_ranges(layout: Layout) -> Ranges:
    """Offsets and lengths of what a save copies into the backup, neighbours joined.

    Link registers and padding are not copied: in a backup they hold whatever lay there before.
    """
    control = layout.control
    optional = (control.gap_size, control.checksum, control.origin_size)
    fields = [control.prev, control.next, control.pre_node, control.size_and_flag, *(one for one in optional if one)]
    joined: list[tuple[int, int]] = []
    for field in sorted(fields, key=lambda field: field.offset):
        if joined and sum(joined[-1]) == field.offset:
            joined[-1] = (joined[-1][0], joined[-1][1] + field.size)
        else:
            joined.append((field.offset, field.size))
    return tuple(joined)


def saved_words(layout: Layout) -> struct.Struct:
    """What unpacks the bytes that a save copies, for a comparison."""
    code, end = "<", 0
    for offset, length in saved_ranges(layout):
        code += f"{offset - end}x{length}s"
        end = offset + length
    return struct.Struct(code)


def saved_mask(layout: Layout) -> bytes:
    """One byte for each byte of a control header: 1 where a save copies it."""
    mask = bytearray(layout.control.size)
    for offset, length in saved_ranges(layout):
        mask[offset : offset + length] = b"\1" * length
    return bytes(mask)


def encode(layout: Layout, header: ControlHeader, under: bytes) -> bytes:
    """The bytes of a header's saved fields, laid over `under`, which gives link registers and padding."""
    control = layout.control
    out = bytearray(under)
    fields: list[tuple[Field | None, int]] = [
        (control.prev, header.prev),
        (control.next, header.next),
        (control.pre_node, header.pre_node),
        (control.gap_size, header.gap_size),
        (control.checksum, header.checksum),
        (control.origin_size, header.origin_size),
        (control.size_and_flag, header.size_and_flag),
    ]
    for field, value in fields:
        if field is not None:
            out[field.offset : field.offset + field.size] = value.to_bytes(field.size, "little")
    return bytes(out)


def with_fields(layout: Layout, header: ControlHeader, **values: int) -> ControlHeader:
    """The header with some fields replaced; what lies over the list links (magic, task, module) follows them."""
    changed = msgspec.structs.replace(header, **values)
    return layout.decode_control(encode(layout, changed, link_register_bytes(layout, header)), 0)


def sealed(layout: Layout, header: ControlHeader) -> ControlHeader:
    """The header with the checksum that its fields ask for."""
    if layout.control.checksum is None:
        return header
    return msgspec.structs.replace(header, checksum=layout.checksum(header))


def link_register_bytes(layout: Layout, header: ControlHeader) -> bytes:
    """A control header's size of bytes, 0 but for the header's link registers."""
    out = bytearray(layout.control.size)
    if layout.control.link_registers is not None:
        field = layout.control.link_registers
        registers = (value.to_bytes(layout.pointer, "little") for value in header.link_registers)
        out[field.offset : field.offset + field.size] = b"".join(registers)
    return bytes(out)


def fields_of(layout: Layout, header: ControlHeader, valid: bool) -> HeaderFields:
    """A copy field by field, with the kernel's names in the order of its bytes.

    Magic, task and module lie over the list links, so both readings are given, as debuggers show a
    union. Link registers are hexadecimal, as they lie in memory. `valid` tells whether the copy can be
    trusted: its checksum holds and it agrees with the nodes around.
    """
    control = layout.control
    fields: HeaderFields = {
        "freeNodeInfo.pstPrev": header.prev,
        "freeNodeInfo.pstNext": header.next,
    }
    if layout.has_magic:
        fields["magic"] = header.magic
        fields["taskId"] = header.task
        if control.module is not None:
            fields["moduleId"] = header.module
    fields["preNode"] = header.pre_node
    if control.gap_size is not None:
        fields["gapSize"] = header.gap_size
    if control.checksum is not None:
        fields["checksum"] = header.checksum
    if control.origin_size is not None:
        fields["originSize"] = header.origin_size
    if control.link_registers is not None:
        fields["linkReg"] = b"".join(one.to_bytes(layout.pointer, "little") for one in header.link_registers).hex()
    fields["sizeAndFlag"] = header.size_and_flag
    fields["valid"] = valid
    return fields
