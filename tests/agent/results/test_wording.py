"""Records of schema 1 keep the words of their time; the table that gives them names words that are really there."""

import ast
from pathlib import Path

from agent.config import ROOT
from agent.results import wording
from agent.results.conclude import conclude
from agent.results.report import render_report
from agent.results.wording import in_words_of_schema_1
from tests.agent.results.test_report import measured


def test_results_of_schema_1_are_worded_as_they_were() -> None:
    results = conclude(measured(schema=1, exposures={"proposed": 2}))
    before = in_words_of_schema_1(results)
    assert "Trials of proposed were evaluated on the test inputs 2 times; one evaluation was planned." in (
        results.limitations
    )
    assert "Trials of proposed met the test inputs 2 times; a single look was planned." in before.limitations
    assert before.plan == results.plan and before.tracks[0].teacher_scores == results.tracks[0].teacher_scores


def test_what_somebody_else_wrote_is_left_alone() -> None:
    idea = "try what was cut off and continued from its checkpoint"
    assert in_words_of_schema_1(conclude(measured(schema=1, idea=idea))).idea == idea


def test_the_error_of_a_trial_is_left_alone() -> None:
    results = conclude(measured(schema=1))
    [track] = results.tracks
    arms = (track.arms[0].model_copy(update={"failures": ("a plain, simple error",)}), *track.arms[1:])
    before = in_words_of_schema_1(results.model_copy(update={"tracks": (track.model_copy(update={"arms": arms}),)}))
    assert before.tracks[0].arms[0].failures == ("a plain, simple error",)


def test_reports_of_schema_1_are_rendered_as_they_were() -> None:
    assert "times its trials met the test inputs" in render_report(conclude(measured(schema=1)))
    assert "evaluations on the test inputs; one was planned" in render_report(conclude(measured()))


def test_every_sentence_of_the_table_is_one_that_kdagent_writes() -> None:
    source = "\n".join(_texts(path) for path in (ROOT / "agent").rglob("*.py") if path != Path(wording.__file__))
    assert [words for words in wording.BEFORE if words not in source] == []


def _texts(path: Path) -> str:
    """Every string of a module; those written in pieces, and around values, are joined."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Constant(value=str(text)):
                found.append(text)
            case ast.JoinedStr(values=parts):
                found.append("".join(part.value if isinstance(part, ast.Constant) else "" for part in parts))
    return "\n".join(found)
