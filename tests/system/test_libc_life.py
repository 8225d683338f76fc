"""From before the first constructor to after the last destructor, and whoever's malloc it is."""

import pytest
from libc.harness import both_heaps, build, case_names, needs_engine, run

pytestmark = needs_engine

CASES = [case for case in case_names("life.c") if case != "early"]


@both_heaps
@pytest.mark.parametrize("case", CASES)
def test_libraries_come_and_go(case: str, with_engine: bool) -> None:
    plugin = build("plugin.c", "-shared", "-fPIC")
    nested = build("nested.c", "-shared", "-fPIC", f"-Wl,--enable-new-dtags,-rpath,{plugin.parent}")

    run(build("life.c"), case, plugin, nested, with_engine=with_engine).assert_clean()


@both_heaps
@pytest.mark.parametrize("variable", [{}, {"LD_BIND_NOW": "1"}], ids=["lazy", "now"])
def test_memory_from_before_constructors_is_good_until_after_destructors(
    variable: dict[str, str], with_engine: bool
) -> None:
    early = build("early.c", "-shared", "-fPIC")
    program = build("life.c", "-DWITH_EARLY", str(early), f"-Wl,-rpath,{early.parent}")

    run(program, "early", with_engine=with_engine, environment=variable).assert_clean()


@both_heaps
def test_program_with_a_heap_of_its_own_keeps_it(with_engine: bool) -> None:
    run(build("own_malloc.c"), with_engine=with_engine).assert_clean()
