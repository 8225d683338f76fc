"""The formats are described twice, in C and in Python: every offset and constant is compared."""

import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest

from heapwitness.findings import sites
from heapwitness.layout import events, past, process, runs, witness

NATIVE = Path(__file__).parents[2] / "native"
CC = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(CC is None, reason="needs a C compiler")

HEADER = ("size", "prev_size", "meta", "check")
LINKS = ("left", "right", "parent", "check")
CONTROL = ("magic", "shape", "size", "check", "secret", "large", "flags", "nodes", "used", "bitmap", "bins", "reserved")
EVENT = (
    *("magic", "version", "type", "length", "pid", "tid", "ppid", "when", "reason", "process", "pool", "pool_bytes"),
    *("pointer", "node", "family", "thread", "windows", "frames", "dropped"),
)
CRASH = (
    *("machine", "signal", "code", "address", "sender", "state", "nodes", "pc", "sp", "trap", "error"),
    *("registers",) * 31,
)
OUTCOME = ("headers", "backups", "slacks", "links", "poisons", "controls", "quarantined")


def evaluate(directory: Path, headers: Sequence[str], expressions: Sequence[str]) -> dict[str, int]:
    """What the C headers say: the value of each expression."""
    source, program = directory / "ask.c", directory / "ask"
    includes = "".join(f'#include "{header}"\n' for header in ("stddef.h", "stdio.h", *headers))
    prints = "".join(f'printf("%llu\\n", (unsigned long long)({expression}));\n' for expression in expressions)
    source.write_text(f"{includes}int main(void) {{\n{prints}return 0;\n}}\n")
    folders = [f"-I{NATIVE / folder}" for folder in ("core", "host")]
    assert CC
    subprocess.run([CC, "-std=gnu11", "-DHW_FIXED_GRANULE_LOG2=4", *folders, source, "-o", program], check=True)
    lines = subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()
    return dict(zip(expressions, map(int, lines), strict=True))


def offsets(layout: struct.Struct, fields: Sequence[str]) -> dict[str, int]:
    """Where each field of a struct format lies, and its whole size."""
    codes = layout.format.lstrip("<@=")
    found: dict[str, int] = {}
    at = number = 0
    while number < len(codes):
        length = number + next(i for i, code in enumerate(codes[number:]) if code.isalpha())
        code = codes[number : length + 1]
        for single in [code] if code[-1] == "s" else [code[-1]] * int(code[:-1] or 1):
            found[fields[len(found)]] = at
            at += struct.calcsize("<" + single)
        number = length + 1
    assert at == layout.size
    return found


def test_the_core_and_its_description_name_the_same_constants(tmp_path: Path) -> None:
    expected = {
        "HW_MAGIC": witness.MAGIC,
        "HW_CONTROL": witness.CONTROL,
        "HW_WITNESSED": witness.WITNESSED,
        "HW_HEADER": witness.HEADER,
        "HW_BACKUP": witness.KEPT,
        "HW_VERSION": witness.VERSION,
        "HW_OVERHEAD": witness.OVERHEAD,
        "HW_MIN_NODE": witness.MIN_NODE,
        "HW_END": witness.END,
        "HW_BINS": witness.BINS,
        "HW_MOST": witness.POOL_LIMIT,
        "HW_FLAG_STALE": witness.FLAG_STALE,
        "HW_SITE_QUARANTINE": witness.SITE_QUARANTINE,
        "HW_LINK_KEY": witness.LINK_KEY,
        "HW_CACHED_PARENT": witness.CACHED_PARENT,
        "HW_PENDING_PARENT": witness.PENDING_PARENT,
        "HW_FREE": witness.State.FREE,
        "HW_USED": witness.State.USED,
        "HW_CACHED": witness.State.CACHED,
        "HW_ENDNODE": witness.State.END,
        "HW_MALLOC": witness.Origin.MALLOC,
        "HW_NEW": witness.Origin.NEW,
        "HW_NEW_ARRAY": witness.Origin.NEW_ARRAY,
        "HW_ALIGNED": witness.Origin.ALIGNED,
        "HW_NONE": events.Reason.NONE,
        "HW_HEADERS": events.Reason.DAMAGE,
        "HW_SLACK": events.Reason.SLACK,
        "HW_LINKS": events.Reason.LINKS,
        "HW_POISON": events.Reason.POISON,
        "HW_CONTROL_BLOCK": events.Reason.CONTROL,
        "hw_meta(13, HW_CACHED, HW_NEW_ARRAY, 0xABCDEF)": witness.meta(
            13, witness.State.CACHED, witness.Origin.NEW_ARRAY, 0xABCDEF
        ),
    }
    assert evaluate(tmp_path, ["node.h"], list(expected)) == expected


def test_the_core_and_its_description_lay_out_the_same_records(tmp_path: Path) -> None:
    expected = {f"offsetof(hw_header, {name})": at for name, at in offsets(witness.HEADER_WORDS, HEADER).items()}
    expected |= {f"offsetof(hw_links, {name})": at for name, at in offsets(witness.HEADER_WORDS, LINKS).items()}
    expected |= {
        "sizeof(hw_header)": witness.HEADER_WORDS.size,
        "sizeof(hw_links)": witness.HEADER_WORDS.size,
        "sizeof(hw_pool)": witness.CONTROL_WORDS.size,
        "sizeof(hw_outcome)": 8 * len(OUTCOME),
    }
    expected |= {f"offsetof(hw_outcome, {name})": 8 * number for number, name in enumerate(OUTCOME)}
    control = [*CONTROL[:4], *["secret"] * 4, *CONTROL[5:9], *["bitmap"] * 2, *["bins"] * 64, *["reserved"] * 2]
    expected |= {f"offsetof(hw_pool, {name})": 4 * control.index(name) for name in CONTROL}
    assert evaluate(tmp_path, ["node.h"], list(expected)) == expected

    words = struct.pack("<80I", *range(80))
    fixed, index = witness.Fixed.unpack(words[:32]), witness.Index.unpack(words)
    assert (fixed.magic, fixed.shape, fixed.size, fixed.check, fixed.secret) == (0, 1, 2, 3, (4, 5, 6, 7))
    assert (index.large, index.flags, index.nodes, index.used, index.bins[0]) == (8, 9, 10, 11, 14)


def test_the_keyed_check_the_pattern_and_the_poison_are_the_same_numbers(tmp_path: Path) -> None:
    secret = (0x01234567, 0x89ABCDEF, 0xFEDCBA98, 0xFFFFFFFF)
    key = "(const uint32_t[4]){%du, %du, %du, %du}" % secret  # noqa: UP031
    expected = {}
    for offset in (0, 1, 20, 0x7FFFFFFF, 0xFFFFFFFF):
        for words in ((0, 0, 0), (3, 5, 0x123456), (0xFFFFFFFF, 0x80000000, 0xFFFFFFFE)):
            arguments = ", ".join(f"{word}u" for word in (*words, offset))
            expected[f"hw_keyed({key}, {arguments})"] = witness.keyed(secret, *words, offset)
        expected[f"hw_pattern({key}, {offset}u)"] = int.from_bytes(witness.pattern(secret, offset), "little")
        poison = witness.poison(witness.pattern(secret, offset))
        expected[f"hw_poison({key}, {offset}u)"] = int.from_bytes(poison, "little")
    assert evaluate(tmp_path, ["node.h"], list(expected)) == expected


def test_the_engine_and_its_description_lay_out_the_same_events(tmp_path: Path) -> None:
    expected = {f"offsetof(hw_event, {name})": at for name, at in offsets(events.EVENT_WORDS, EVENT).items()}
    section = offsets(events.SECTION_WORDS, ("kind", "zero", "address", "length"))
    expected |= {f"offsetof(hw_section, {name})": at for name, at in section.items()}
    expected |= {
        "sizeof(hw_event)": events.EVENT_WORDS.size,
        "sizeof(hw_section)": events.SECTION_WORDS.size,
        "HW_HELLO": events.Type.HELLO,
        "HW_FINDING": events.Type.FINDING,
        "HW_EXIT": events.Type.EXIT,
        "HW_OUTCOME": events.Type.OUTCOME,
        "HW_CRASHED": events.Type.CRASH,
        "HW_WATCHED_STORE": events.Type.WATCHED,
        "HW_AT_MALLOC": events.When.MALLOC,
        "HW_AT_FREE": events.When.FREE,
        "HW_AT_REALLOC": events.When.REALLOC,
        "HW_AT_CHECK": events.When.CHECK,
        "HW_AT_EXIT": events.When.EXIT,
        "HW_AT_CRASH": events.When.CRASH,
        "HW_AT_TRAP": events.When.TRAP,
        "HW_DOUBLE": events.Reason.DOUBLE,
        "HW_INVALID": events.Reason.INVALID,
        "HW_MISMATCH": events.Reason.MISMATCH,
        "HW_GUARD": events.Reason.GUARD,
        "HW_MEMORY": events.SectionKind.MEMORY,
        "HW_MAPS": events.SectionKind.MAPS,
        "HW_COMMAND": events.SectionKind.COMMAND,
        "HW_STATS": events.SectionKind.STATS,
        "HW_RELEASED": events.SectionKind.RELEASED,
        "HW_TRAPPED": events.SectionKind.TRAP,
        "HW_UNPOOLED": events.SectionKind.UNPOOLED,
        "HW_STORED": events.SectionKind.STORED,
        "HW_HELD": events.SectionKind.HELD,
        "HW_LEFT": events.SectionKind.LEFT,
        "HW_WENT_ON": events.SectionKind.WENT_ON,
        "HW_FRAME": events.SectionKind.FRAME,
        "HW_WATCHED": events.SectionKind.WATCHED,
        "HW_NUMBERED": events.SectionKind.NUMBERED,
        "HW_RUN_AT": events.SectionKind.RUN,
        "HW_TRAP_GOES_ON": events.TrapState.GOES_ON,
        "HW_TRAP_IS_NEAR": events.TrapState.IS_NEAR,
        "sizeof(hw_trap)": 8 * 5,
        "sizeof(hw_unpooled)": 8 * 7,
        "sizeof(hw_watched)": 8 * 8,
        "sizeof(hw_numbered)": events.NUMBER_WORDS.size,
        "HW_STATS_WORDS": 15,
        "HW_ACCESSES": events.Access.UNKNOWN,
        "HW_READS": events.Access.READ,
        "HW_WRITES": events.Access.WRITE,
        "HW_MENDED": events.SectionKind.OUTCOME,
        "HW_CRASH": events.SectionKind.CRASH,
        "HW_CRASH_LOOKED": events.CrashState.LOOKED,
        "HW_CRASH_CHECKED": events.CrashState.CHECKED,
        "HW_CRASH_ENGAGED": events.CrashState.ENGAGED,
        "HW_CRASH_BROKE": events.CrashState.BROKE,
        "HW_CRASH_FOUND": events.CrashState.FOUND,
        "sizeof(hw_crash)": events.CRASH_WORDS.size,
        "EM_X86_64": events.Machine.X86_64,
        "EM_AARCH64": events.Machine.AARCH64,
    }
    expected |= {f"offsetof(hw_crash, {name})": 8 * CRASH.index(name) for name in CRASH}
    assert evaluate(tmp_path, ["tell/watched.h", "stacks/numbers.h", "elf.h"], list(expected)) == expected


RUN = (
    *("base", "salt", "aside", "stride", "head", "used", "formatted", "capacity", "class", "listed", "where"),
    *("waiting", "next", "previous", "next_waiting", "queued"),
)


def test_the_core_and_its_description_lay_out_the_same_runs(tmp_path: Path) -> None:
    aside = {"salt": 0, "formatted": 8, "class": 10, "zero": 11, "slack": 16}
    expected = {f"offsetof(hw_run, {name})": at for name, at in offsets(runs.RUN_WORDS, RUN).items()}
    expected |= {f"offsetof(hw_run_aside, {name})": at for name, at in aside.items()}
    expected |= {
        "sizeof(hw_run)": runs.RUN_WORDS.size,
        "sizeof(hw_run_aside)": runs.ASIDE_WORDS.size,
        "HW_RUN_LOG2": runs.LOG2,
        "HW_RUN_BYTES": runs.BYTES,
        "HW_RUN_GRANULE_LOG2": runs.GRANULE_LOG2,
        "HW_RUN_FIRST": runs.FIRST,
        "HW_RUN_OVERHEAD": runs.OVERHEAD,
        "HW_RUN_BACKUP": runs.KEPT,
        "HW_RUN_SMALL": runs.SMALL,
        "HW_RUN_CLASSES": runs.CLASSES,
        "HW_RUN_MOST": runs.MOST,
        "HW_RUN_NODES": runs.NODES,
        "HW_RUN_MIDS": runs.MIDS,
        "HW_RUN_HELD": runs.HELD,
    }
    assert evaluate(tmp_path, ["run_node.h"], list(expected)) == expected


def test_what_is_keyed_in_a_run_is_the_same_number(tmp_path: Path) -> None:
    key = runs.RunKey(0x9E3779B97F4A7C15, 0xFFFFFFFFFFFFFFFF)
    written = "&(const hw_run_key){%dull, %dull}" % key  # noqa: UP031
    expected = {}
    for place in (0, 1, 0x0123456789ABCDEF, 0xFFFFFFFFFFFFFFFF):
        for word in (0, 0x30, 0xFFFFFFFF):
            header = runs.sealed(key, place, word)
            expected[f"hw_run_header({place}ull, {written}, {word}u)"] = header.meta | header.check << 32
        for slack in (0, 15, 1023):
            expected[f"hw_slack_entry({place}ull, {slack}u)"] = runs.slack_entry(place, slack)
        free = runs.free_links(key, place, 77)
        expected[f"hw_free_word({place}ull, 77)"] = free.first
        expected[f"hw_second_word({place}ull, {written}, {free.first}ull)"] = free.second
        expected[f"hw_place({place}ull, {written}, (void *)0x7f0012345670)"] = runs.place_of(key, place, 0x7F0012345670)
    assert evaluate(tmp_path, ["run_node.h"], list(expected)) == expected


def test_the_engine_and_its_description_lay_out_the_same_process_block(tmp_path: Path) -> None:
    block = offsets(
        process.PROCESS_WORDS,
        ("magic", "version", "sites", "sites_used", "regions", "regions_used", "key.place", "key.meta", "past"),
    )
    expected = {f"offsetof(hw_process, {name})": at for name, at in block.items()}
    region = offsets(process.REGION_WORDS, ("base", "bytes", "kind", "arena", "table", "handed"))
    expected |= {f"offsetof(hw_region, {name})": at for name, at in region.items()}
    expected |= {
        "sizeof(hw_process)": process.PROCESS_WORDS.size,
        "sizeof(hw_region)": process.REGION_WORDS.size,
        "HW_UNUSED": process.RegionKind.UNUSED,
        "HW_ARENA_POOL": process.RegionKind.ARENA,
        "HW_BIG_POOL": process.RegionKind.BIG,
        "HW_BIG_CLAIMED": process.RegionKind.BIG_HELD,
        "HW_CLAIMED": process.RegionKind.CLAIMED,
        "HW_HUGE": process.RegionKind.HUGE,
        "HW_HUGE_CLAIMED": process.RegionKind.HUGE_HELD,
        "HW_TRAPPED_BLOCKS": process.RegionKind.TRAPPED,
        "HW_ARENA_RUNS": process.RegionKind.RUNS,
    }
    assert evaluate(tmp_path, ["os/process.h"], list(expected)) == expected
    assert evaluate(tmp_path, ["os/process.h"], ["HW_REGIONS"])["HW_REGIONS"] <= process.REGIONS_LIMIT


def test_the_engine_and_its_description_lay_out_the_same_site(tmp_path: Path) -> None:
    record = offsets(process.SITE_WORDS, ("hash", "prior", "thread", "count", "kind", "trapped"))
    expected = {f"offsetof(hw_site_record, {name})": at for name, at in record.items()}
    expected |= {
        "offsetof(hw_site_record, word)": process.SITE_WORDS.size,
        "HW_SITE_NATIVE": process.SiteKind.NATIVE,
        "HW_SITE_PYTHON": process.SiteKind.PYTHON,
        "HW_SITE_CODE": process.SiteKind.CODE,
        "HW_OF_RAW": witness.Domain.RAW,
        "HW_OF_MEMORY": witness.Domain.MEMORY,
        "HW_OF_OBJECTS": witness.Domain.OBJECTS,
        "HW_OF_ARRAYS": witness.Domain.ARRAYS,
        "HW_DOMAINS": len(witness.Domain),
    }

    assert evaluate(tmp_path, ["stacks/sites.h"], list(expected)) == expected


def test_the_engine_and_its_description_say_the_domain_of_a_call_alike(tmp_path: Path) -> None:
    address, domains = 0x7F12_3456_789A, {f"{int(one)}ull": one for one in witness.Domain}
    words = {f"({number} << HW_DOMAIN_AT | {address}ull)": one for number, one in domains.items()}
    asked = [f"{what}{word}" for word in words for what in ("hw_domain_of", "hw_address_of")]

    told = evaluate(tmp_path, ["stacks/sites.h", "tell/channel.h"], [*asked, "HW_FAMILY_BITS"])

    assert [told[f"hw_domain_of{word}"] for word in words] == list(words.values())
    assert {told[f"hw_address_of{word}"] for word in words} == {address}
    assert told["HW_FAMILY_BITS"] == events.FAMILY_BITS
    assert [process.split_address(int(one) << 56 | address) for one in witness.Domain] == [
        (one, address) for one in witness.Domain
    ]


def test_the_engine_and_the_names_of_sites_number_the_sides_of_a_block_alike(tmp_path: Path) -> None:
    hows = {f"HW_TRAP_{how.upper()}": number for number, how in enumerate(("not", *get_args(sites.How)))}

    assert evaluate(tmp_path, ["stacks/named.h"], list(hows)) == hows


def test_the_engine_and_its_description_lay_out_the_same_memory_of_releases(tmp_path: Path) -> None:
    expected = {
        "HW_PAST_MOST": past.RELEASES,
        "HW_PAST_SITES": past.SITES,
        "HW_PAST_HEADS": past.HEADS,
        "HW_PAST_TYPE": past.TYPE,
        "HW_PAST_STEP": past.STEP,
        "offsetof(hw_past, released)": past.NEXT_WORDS.size,
        "offsetof(hw_past, learnt)": past.NEXT_WORDS.size + 8 * past.RELEASES,
        "sizeof(hw_past)": past.NEXT_WORDS.size + 8 * past.RELEASES + past.SITES * past.LEARNT_WORDS.size,
    }
    expected |= {f"hw_past_slot({site})": past.slot(site) for site in (1, 77, 0x123456, 0xFFFFFE)}
    assert evaluate(tmp_path, ["stacks/past.h"], list(expected)) == expected
