"""A class has a name of its own in the whole package, so that its name says which one is meant."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import heapwitness
from heapwitness import liteos

SOURCES = Path(__file__).parents[2] / "src" / "heapwitness"

# Public under the same name in two formats: `heapwitness.Pool` and `heapwitness.liteos.Pool`.
PUBLIC = ("Pool",)
# A number in the engine's bytes is an enumeration, and the words for it in a report are a type of the same name.
IN_REPORTS = ("Access", "Domain", "Origin", "State", "When")


def classes(body: list[ast.stmt]) -> Iterator[str]:
    """The names of the classes that are defined in a module or in a class."""
    for one in body:
        if isinstance(one, ast.ClassDef):
            yield one.name
            yield from classes(one.body)


def types(body: list[ast.stmt]) -> Iterator[str]:
    """The names of a module's other types: a capitalized word that is given a value, and is no constant."""
    for one in body:
        if isinstance(one, ast.Assign):
            yield from (
                target.id
                for target in one.targets
                if isinstance(target, ast.Name) and target.id[0].isupper() and not target.id.isupper()
            )


def shared(names: Iterator[str]) -> list[str]:
    return sorted(name for name, number in Counter(names).items() if number > 1)


def modules() -> list[list[ast.stmt]]:
    return [ast.parse(file.read_text()).body for file in SOURCES.rglob("*.py")]


def test_no_two_classes_share_a_name_but_for_public_ones() -> None:
    found = shared(name for body in modules() for name in classes(body))

    assert found == [*PUBLIC]


def test_each_name_that_two_classes_share_is_public_in_both_packages() -> None:
    assert set(PUBLIC) <= set(heapwitness.__all__) & set(liteos.__all__)


def test_no_other_type_shares_a_name_but_for_the_words_of_reports() -> None:
    found = shared(name for body in modules() for name in (*classes(body), *types(body)))

    assert found == sorted((*PUBLIC, *IN_REPORTS))
