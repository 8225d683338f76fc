"""`python release/api.py FILE`: the page of what `heapwitness` and `heapwitness.liteos` name, from its docstrings."""

import re
import sys
from pathlib import Path

from griffe import Alias, GriffeLoader, Object, Parser
from griffe2md import ConfigDict, render_object_docs

ROOT = Path(__file__).parents[1]
MODULES = ("heapwitness", "heapwitness.liteos")
HEAD = """\
# Names to rely upon

Made from the docstrings by `make docs`; change those. What is not on this page may move.
"""
_CONFIG: ConfigDict = {
    "docstring_style": "google",
    "filters": ["!^_"],
    "heading_level": 3,
    "inherited_members": False,
    "members_order": "source",
    "show_bases": True,
    "show_if_no_docstring": False,
    "show_root_full_path": False,
    "show_root_members_full_path": False,
    "show_object_full_path": False,
    "show_signature_annotations": True,
    "show_submodules": False,
    "signature_crossrefs": False,
    "annotations_path": "brief",
    "summary": False,
}


def main(output: Path) -> None:
    """Write the page."""
    output.write_text(page())


def page() -> str:
    """The page's text."""
    loader = GriffeLoader(search_paths=[str(ROOT / "src")], docstring_parser=Parser("google"))
    loader.load("heapwitness")
    loader.resolve_aliases(implicit=False, external=False)
    parts = [HEAD]
    for module in MODULES:
        found = loader.modules_collection[module]
        assert found.docstring is not None
        parts.append(f"## {module}\n\n{found.docstring.value}\n")
        parts += (_described(name, loader.modules_collection[found.imports[name]]) for name in sorted(found.exports))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def _described(name: str, member: Object | Alias) -> str:
    target = member.final_target if isinstance(member, Alias) else member
    text = render_object_docs(target, _CONFIG)
    # The page has no part for what is not public, and a name is told as it is imported.
    text = re.sub(r"<code>\[([^\]]*)\]\(#[^)]*\)</code>", r"`\1`", text)
    text = re.sub(r"\[([^\]]*)\]\(#[^)]*\)", r"\1", text)
    text = re.sub(rf"\b{re.escape(target.name)}(?=`|\()", name, text, count=2) if target.name != name else text
    return re.sub(r"(?<![\w/(])docs/([a-z-]+\.md)", r"[\1](\1)", text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
