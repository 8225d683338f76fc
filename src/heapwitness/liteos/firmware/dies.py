"""What entries of debug information say, whatever version of DWARF wrote them: names, numbers, types, addresses."""

from collections.abc import Iterator
from typing import Any

from elftools.dwarf.die import DIE
from elftools.dwarf.ranges import BaseAddressEntry

DEEPEST = 16
"""So many types behind types, or entries inside of entries, are followed."""

_PLUS_UCONST = 0x23
_RANGES_LIMIT = 65536
_SECTION_LIMIT = 512 << 20


def dwarf_of(elf: Any) -> Any:
    """An ELF file's debug information, None where it has none.

    Raises:
        ValueError: a section would unpack to more than 512 MiB.
    """
    if not elf.has_dwarf_info():
        return None
    for section in elf.iter_sections():
        if section.name.startswith((".debug", ".zdebug")) and section.data_size > _SECTION_LIMIT:
            raise ValueError(f"{section.name} is larger than {_SECTION_LIMIT >> 20} MiB")
    return elf.get_dwarf_info()


def name_of(die: DIE) -> str:
    """An entry's name, its own or that of the entry it is an instance of; "" for none."""
    for _ in range(DEEPEST):
        attribute = die.attributes.get("DW_AT_name")
        if attribute is not None:
            return str(attribute.value.decode("utf-8", "replace"))
        origin = next((one for one in ("DW_AT_abstract_origin", "DW_AT_specification") if one in die.attributes), None)
        if origin is None:
            break
        die = die.get_DIE_from_attribute(origin)
    return ""


def number_of(die: DIE, name: str) -> int:
    """A number that an attribute holds, or that its expression adds; 0 where it has none."""
    attribute = die.attributes.get(name)
    if attribute is None:
        return 0
    value = attribute.value
    if isinstance(value, list) and value[:1] == [_PLUS_UCONST]:
        # DWARF 2 gives a member's place as an expression.
        return sum((byte & 0x7F) << 7 * index for index, byte in enumerate(value[1:6]))
    return value if isinstance(value, int) else 0


def type_of(die: DIE) -> DIE:
    """What a typedef, member, array or qualified type is made of."""
    for _ in range(DEEPEST):
        if "DW_AT_type" not in die.attributes:
            return die
        die = die.get_DIE_from_attribute("DW_AT_type")
        if die.tag not in ("DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type"):
            return die
    return die


def size_of(target: DIE) -> int:
    """The size of a type in bytes."""
    if target.tag == "DW_TAG_pointer_type":
        return int(target.cu["address_size"])
    if target.tag != "DW_TAG_array_type":
        return number_of(target, "DW_AT_byte_size")
    count = 1
    for die in target.iter_children():
        if die.tag == "DW_TAG_subrange_type":
            count *= number_of(die, "DW_AT_count") or number_of(die, "DW_AT_upper_bound") + 1
    return count * size_of(type_of(target))


def ranges_of(die: DIE, ranges: Any) -> Iterator[tuple[int, int]]:
    """Start and stop of an entry's code, each stretch; nothing for an entry without code.

    Args:
        die: a unit, function or inlined function.
        ranges: the file's range lists, None where it has none.
    """
    low, high = die.attributes.get("DW_AT_low_pc"), die.attributes.get("DW_AT_high_pc")
    if low is not None and high is not None:
        # Since DWARF 4 the upper one may be a length.
        is_address = high.form == "DW_FORM_addr" or high.form.startswith("DW_FORM_addrx")
        yield low.value, high.value if is_address else low.value + high.value
    elif "DW_AT_ranges" in die.attributes and ranges is not None:
        base = number_of(die.cu.get_top_DIE(), "DW_AT_low_pc")
        entries = ranges.get_range_list_at_offset(die.attributes["DW_AT_ranges"].value, die.cu)
        for entry in entries[:_RANGES_LIMIT]:
            if isinstance(entry, BaseAddressEntry):
                base = entry.base_address
            else:
                start = 0 if entry.is_absolute else base
                yield start + entry.begin_offset, start + entry.end_offset
