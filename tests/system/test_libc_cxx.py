"""C++'s operators: all forms, replaced ones, handlers and exceptions."""

import itertools
import resource

import pytest
from libc.harness import both_heaps, build, needs_engine, run

pytestmark = needs_engine

REPLACEABLE = ["NEW", "DELETE", "NEW_ARRAY", "DELETE_ARRAY", "NOTHROW_NEW", "ALIGNED"]
REPLACED = [
    *[(one,) for one in REPLACEABLE],
    *itertools.combinations(REPLACEABLE, 2),
    tuple(REPLACEABLE),
]


@both_heaps
@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
@pytest.mark.parametrize("case", ["forms", "objects", "failures", "handlers"])
def test_operators_keep_what_the_standard_promises(case: str, optimise: str, with_engine: bool) -> None:
    run(build("forms.cpp", optimise, "-std=c++17"), case, with_engine=with_engine).assert_clean()


@both_heaps
def test_handler_that_frees_lets_the_allocation_succeed(with_engine: bool) -> None:
    half_a_gibibyte = 512 << 20
    run(
        build("forms.cpp", "-O2", "-std=c++17"),
        "handlers",
        with_engine=with_engine,
        environment={"LIMITED": "1"},
        before=lambda: resource.setrlimit(resource.RLIMIT_AS, (half_a_gibibyte, half_a_gibibyte)),
    ).assert_clean()


@pytest.mark.parametrize("replaced", REPLACED, ids="+".join)
def test_replaced_operators_go_with_those_that_are_not(replaced: tuple[str, ...]) -> None:
    program = build("replaced.cpp", "-O1", "-std=c++17", *[f"-D{name}" for name in replaced])

    run(program, with_engine=False).assert_clean()
    run(program).assert_clean()


@both_heaps
def test_library_that_a_c_program_loads_gets_its_exception(with_engine: bool) -> None:
    library = build("cxx_plugin.cpp", "-shared", "-fPIC", "-std=c++17")

    run(build("loads_cxx.c"), library, with_engine=with_engine).assert_clean()


@both_heaps
def test_static_run_time_library_is_a_program_s_own(with_engine: bool) -> None:
    program = build("static_cxx.cpp", "-static-libstdc++", "-static-libgcc", "-std=c++17")

    run(program, with_engine=with_engine).assert_clean()
