"""What is said of kinds is said in one place."""

from pathlib import Path
from typing import get_args

import pytest

from heapwitness.findings.model import Kind
from heapwitness.report.explain import EXPLANATIONS, page

PAGE = Path(__file__).parents[2] / "docs" / "kinds.md"


def test_each_kind_is_explained() -> None:
    assert set(EXPLANATIONS) == set(get_args(Kind))


def test_the_page_of_kinds_is_made_of_the_same_texts() -> None:
    assert PAGE.read_text() == page(), "python -m heapwitness.report.explain docs/kinds.md"


@pytest.mark.parametrize("kind", EXPLANATIONS)
def test_sentences_end_and_weaknesses_have_a_page(kind: Kind) -> None:
    one = EXPLANATIONS[kind]

    assert all(text.rstrip(")").endswith((".", "?")) for text in (one.summary, one.meaning, *one.causes, *one.look))
    assert one.link == f"https://cwe.mitre.org/data/definitions/{one.cwe}.html"
