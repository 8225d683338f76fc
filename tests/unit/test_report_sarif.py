"""SARIF: valid by the published schema, shown at the right line, and recognised again."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from support.reports import everything, findings, report_of, trapped

from heapwitness.findings.model import Detected, Finding, Frame
from heapwitness.report import sarif
from heapwitness.report.explain import EXPLANATIONS
from heapwitness.report.fingerprint import fingerprint

SCHEMA = Path(__file__).parents[1] / "data" / "sarif" / "sarif-2.1.0-rtm.5.json"
ROOT = Path("/src/app")


def validator() -> jsonschema.Draft4Validator:
    return jsonschema.Draft4Validator(json.loads(SCHEMA.read_text()), format_checker=jsonschema.FormatChecker())


def log_of(*found: Finding, root: Path = ROOT) -> Any:
    document = json.loads(sarif.encode(report_of(*found), root))
    validator().validate(document)
    return document["runs"][0]


def result_of(finding: Finding, root: Path = ROOT) -> Any:
    (result,) = log_of(finding, root=root)["results"]
    return result


@pytest.mark.parametrize("kind", EXPLANATIONS)
def test_each_kind_is_valid_and_names_its_rule(kind: str) -> None:
    run = log_of(findings()[kind])

    (result,) = run["results"]
    rule = run["tool"]["driver"]["rules"][result["ruleIndex"]]
    assert result["ruleId"] == rule["id"] == kind
    assert rule["help"]["text"] and rule["helpUri"].startswith("https://cwe.mitre.org/")


def test_a_whole_report_with_a_crash_and_a_warning_is_valid() -> None:
    document = json.loads(sarif.encode(everything(), ROOT))

    validator().validate(document)
    notes = document["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    assert [one["level"] for one in notes] == ["note", "warning"]


def test_a_finding_is_shown_at_the_line_of_the_allocation_relative_to_the_repository() -> None:
    place = result_of(findings()["heap-buffer-overflow"])["locations"][0]["physicalLocation"]

    assert place["artifactLocation"] == {"uri": "src/record.c", "uriBaseId": "SRCROOT"}
    assert place["region"]["startLine"] == 41


def test_a_finding_whose_store_was_caught_is_shown_there() -> None:
    place = result_of(trapped())["locations"][0]["physicalLocation"]

    assert place["artifactLocation"]["uri"] == "src/other.c"


def test_a_wrong_release_is_shown_at_the_release() -> None:
    place = result_of(findings()["double-free"])["locations"][0]["physicalLocation"]

    assert place["region"]["startLine"] == 60


def test_a_file_outside_of_the_repository_keeps_its_whole_path() -> None:
    place = result_of(findings()["double-free"], root=Path("/elsewhere"))["locations"][0]["physicalLocation"]

    assert place["artifactLocation"] == {"uri": "file:///src/app/src/record.c"}


def test_a_file_that_was_compiled_elsewhere_is_found_by_the_end_of_its_path(tmp_path: Path) -> None:
    (tmp_path / "app" / "src").mkdir(parents=True)
    (tmp_path / "app" / "src" / "record.c").touch()

    place = result_of(findings()["double-free"], root=tmp_path)["locations"][0]["physicalLocation"]

    assert place["artifactLocation"]["uri"] == "app/src/record.c"


def test_the_code_flow_goes_from_the_allocation_over_the_store_to_the_detection() -> None:
    (flow,) = result_of(trapped())["codeFlows"]

    steps = [one["location"]["message"]["text"] for one in flow["threadFlows"][0]["locations"]]
    assert steps[0].endswith("allocated here")
    assert steps[-2:] == ["stored here", "noticed here"]


def test_a_fingerprint_survives_another_build() -> None:
    finding = findings()["heap-buffer-overflow"]

    def rebuilt(frame: Frame) -> Frame:
        line = None if frame.line is None else frame.line + 7
        return msgspec.structs.replace(
            frame, pc=frame.pc + 4096, offset=99, line=line, build_id="cd" * 10, module="/other/place/app2"
        )

    other = changed(finding, rebuilt)
    other = msgspec.structs.replace(other, count=5, damage=None)
    assert fingerprint(other) == fingerprint(finding)


def test_a_fingerprint_tells_other_functions_and_kinds_apart() -> None:
    finding = findings()["heap-buffer-overflow"]
    renamed = changed(finding, lambda frame: msgspec.structs.replace(frame, function=f"{frame.function}_v2"))

    marks = {fingerprint(one) for one in (*findings().values(), renamed)}

    assert len(marks) == len(findings()) + 1


def test_findings_that_are_alike_have_fingerprints_of_their_own() -> None:
    finding = findings()["double-free"]

    marks = [one["partialFingerprints"]["heapwitness/v1"] for one in log_of(finding, finding)["results"]]

    assert marks == [fingerprint(finding), f"{fingerprint(finding)}/2"]


def test_links_placeholders_and_control_characters_of_names_mean_nothing() -> None:
    frame = Frame(pc=1, function="f[x](http://evil){0}\x1b\u202e", file="/src/app/a b%\u202e.c", line=1)
    finding = msgspec.structs.replace(
        findings()["invalid-free"], culprit=None, detected=Detected(when="free", thread=1, stack=(frame,))
    )

    result = result_of(finding)

    assert "f\\[x\\](http://evil){{0}}\\\\x1b\\\\u202e" in result["message"]["text"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%20b%25%E2%80%AE.c"


def changed(document: Any, change: Any) -> Any:
    """A record with all its frames changed."""
    if isinstance(document, Frame):
        return change(document)
    if isinstance(document, tuple):
        return tuple(changed(one, change) for one in document)
    if isinstance(document, msgspec.Struct):
        names = [name for name in document.__struct_fields__ if name != "schema"]
        return msgspec.structs.replace(document, **{name: changed(getattr(document, name), change) for name in names})
    return document
