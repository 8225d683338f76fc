"""C that Cython wrote: names and lines of the source."""

from pathlib import Path

import pytest

from heapwitness.findings.cython import source_name
from heapwitness.symbols.cython import source_place
from heapwitness.symbols.demangle import demangle


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("__pyx_f_8averages_make", "averages.make"),
        ("__pyx_pf_8averages_moving", "averages.moving"),
        ("__pyx_pf_8averages_2moving", "averages.moving"),
        ("__pyx_pw_8averages_1moving", "averages.moving"),
        ("__pyx_pw_8averages_5run_x_1", "averages.run_x_1"),
        ("__pyx_pw_3app_8averages_6Window_3push_back", "app.averages.Window.push_back"),
        ("__pyx_f_8averages_6Window_size", "averages.Window.size"),
        ("__pyx_f_3app_8averages_make", "app.averages.make"),
        ("__pyx_pf_8averages_4fill._omp_fn.0", "averages.fill"),
        ("__pyx_f_8averages_6Window_size.constprop.0.cold", "averages.Window.size"),
        ("__pyx_fuse_0__pyx_f_8averages_make", "__pyx_fuse_0__pyx_f_8averages_make"),
        ("__pyx_f_99averages_make", "__pyx_f_99averages_make"),
        ("__pyx_f_8averages_", "__pyx_f_8averages_"),
        ("__Pyx_CyFunction_New", "__Pyx_CyFunction_New"),
    ],
)
def test_names_are_those_of_the_source(name: str, source: str) -> None:
    assert source_name(name) == source
    assert demangle(name) == source


def test_line_of_c_leads_to_the_last_statement_before_it(tmp_path: Path) -> None:
    file = tmp_path / "averages.c"
    file.write_text(
        "static int before;\n"
        '  /* "pkg/averages.pyx":7\n * for i in range(n):\n */\n  one();\n  two();\n'
        '  /* "pkg/averages.pyx":9\n * free(out)\n */\n  three();\n'
    )
    beside = tmp_path / "averages.pyx"
    beside.write_text("")

    places = [source_place(str(file), line) for line in (1, 6, 10)]

    assert places == [None, (str(beside), 7), (str(beside), 9)]


def test_file_that_is_gone_says_nothing(tmp_path: Path) -> None:
    assert source_place(str(tmp_path / "averages.c"), 6) is None
