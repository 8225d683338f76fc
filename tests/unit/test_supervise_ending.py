"""What a run came to, as numbers and as a report."""

from heapwitness.findings.model import Summary
from heapwitness.findings.totals import Totals
from heapwitness.supervise.ending import NOTHING_FOUND, Ending


def test_totals_are_what_a_summary_has() -> None:
    assert set(Totals._fields) == set(Summary.__struct_fields__)


def test_report_has_the_numbers_and_the_sentences_of_the_ending() -> None:
    totals = Totals(*range(1, len(Totals._fields) + 1))

    report = Ending(("program", "word"), 7, 3, totals, ("a sentence",), NOTHING_FOUND).report()

    assert report.summary == Summary(**totals._asdict())
    assert report.warnings == ("a sentence",)
    assert report.program is not None
    assert (report.program.argv, report.program.pid, report.program.exit_status) == (("program", "word"), 7, 3)
