"""What the benchmarks make of their measurements: ratios, fits, tables, and the page that they fill."""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("needs the benchmarks", allow_module_level=True)
sys.path.append(str(BENCHMARKS))

import figures  # noqa: E402
import growth  # noqa: E402
import kernels  # noqa: E402
import page  # noqa: E402
import tables  # noqa: E402
from measure import Cell, Column, Launcher, Row, interleave  # noqa: E402


def test_only_what_is_between_the_marks_of_a_page_is_replaced(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("before\n<!-- a -->\nold\n<!-- end of a -->\nbetween\n<!-- b -->\n<!-- end of b -->\nafter\n")

    page.put(document, "a", "new\n")
    page.put(document, "b", "first")

    assert document.read_text() == (
        "before\n<!-- a -->\n\nnew\n\n<!-- end of a -->\nbetween\n<!-- b -->\n\nfirst\n\n<!-- end of b -->\nafter\n"
    )


def test_a_page_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("by hand\n")

    with pytest.raises(ValueError, match="no place for growth"):
        page.put(document, "growth", "new")

    assert document.read_text() == "by hand\n"


def test_the_page_of_figures_has_a_place_for_every_part(tmp_path: Path) -> None:
    copy = tmp_path / "performance.md"
    copy.write_text((BENCHMARKS.parent / "docs" / "performance.md").read_text())

    for part in figures.PARTS:
        page.put(copy, part, "measured")

    assert copy.read_text().count("\nmeasured\n") == len(figures.PARTS)


def test_a_fit_finds_the_work_and_the_lines_that_costs_were_made_of() -> None:
    touches = [2.0, 5.0, 30.0, 90.0]

    fit = growth.fit(touches, [20 + 3 * touch for touch in touches])

    assert [fit.work, fit.lines] == pytest.approx([20, 3])


def test_a_fit_has_no_negative_work() -> None:
    fit = growth.fit([1.0, 10.0, 100.0], [1.0, 20.0, 300.0])

    assert fit.work == 0
    assert fit.lines > 0


def test_a_table_tells_a_failure_from_a_build_that_there_is_not() -> None:
    failed = Cell(math.nan, math.nan, math.nan, math.nan)
    results = {
        "one": {"glibc": Cell(2, 1024, 1, 1), "a": Cell(4, 1024, 2, 1), "b": failed},
        "two": {"glibc": Cell(2, 1024, 1, 1), "a": Cell(16, 1024, 8, 1)},
    }

    lines = tables.lines(tables.Table("T", "s", ("glibc", "a", "b"), results))

    assert lines[1:] == [
        ["one", "2", "2.00", "failed"],
        ["two", "2", "8.00", "-"],
        ["geometric mean", "", "4.00", "-"],
        ["worst", "", "8.00", "-"],
    ]


def test_a_column_with_builds_of_its_own_runs_those_and_skips_other_rows(tmp_path: Path) -> None:
    try:
        launcher = Launcher(kernels.compile_source("launch", tmp_path), 60)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs gcc")
    columns = [Column("plain"), Column("other", own_build=True)]
    failures: list[str] = []

    def run(row: Row) -> dict[str, Cell]:
        return interleave(launcher, row, columns, 2, lambda column, message: failures.append(column.name))

    built = run(Row("r", ("echo", "1.5"), prints_cost=True, builds={"other": lambda: ("echo", "6")}))
    without = run(Row("r", ("true",)))
    broken = run(Row("r", ("true",), builds={"other": lambda: ("false",)}))

    assert built["other"].time_ratio == 4
    assert list(without) == ["plain"]
    assert math.isnan(broken["other"].time)
    assert failures == ["other"]


def test_a_column_has_one_colour_in_all_tables_of_a_picture() -> None:
    cell = Cell(1.5, 1.0, 1.5, 1.0)
    wide = tables.Table("wide", "s", ("glibc", "run", "other"), {"row": {"glibc": cell, "run": cell, "other": cell}})
    narrow = tables.Table("narrow", "s", ("glibc", "other"), {"row": {"glibc": cell, "other": cell}})

    colours = re.findall(r'fill="(#\w+)"><title>other', tables.svg([wide, narrow]))

    assert len(colours) == 2 and len(set(colours)) == 1
