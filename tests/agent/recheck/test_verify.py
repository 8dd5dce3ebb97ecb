"""Verifying: untouched records pass wherever they are, and no altered one does, however consistent its hashes are."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.errors import DataError
from agent.recheck.verify import Derived, verify
from agent.record import hashes, runs
from agent.record.events import EventLog, event_hash, event_line
from agent.record.files import write_whole
from agent.record.paths import RunPaths
from agent.results import review
from agent.results.derive import derive
from agent.results.report import render_report
from agent.results.run_record import RunRecord
from tests.agent.command import ROOT, Kdagent
from tests.agent.gates import Gates
from tests.campaigns.mutation.mutations import KINDS, sample

Event = dict[str, Any]
TRIAL = "trials/attempt-1/digits/0"


@pytest.fixture(scope="module")
def known() -> dict[str, Derived]:
    """What was derived from the finished run, once for all tests."""
    return {}


@pytest.fixture
def paths(gates: Gates, tmp_path: Path) -> RunPaths:
    """A copy of a finished run that was interrupted and resumed on its way."""
    return RunPaths(shutil.copytree(gates.paths.folder, tmp_path / "copy"))


def said(paths: RunPaths, known: dict[str, Derived] | None = None) -> list[str]:
    return [str(finding) for finding in verify(paths, known).findings]


def change(path: Path, old: str, new: str) -> int:
    """Replace the first `old`; its line."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return text[: text.index(old)].count("\n") + 1


def rewrite(paths: RunPaths, alter: Callable[[list[Event]], list[Event]] = list) -> None:
    """A new log with right hashes throughout: what somebody leaves who knows how the record works."""
    events = alter(EventLog(paths.events).read())
    for name, note in hashes.noted(events).items():
        path = paths.folder / name
        if path.exists() and (found := hashes.Note.of_file(paths, name)) != note:
            for event in events:
                for part, value in (("files", found.sha256), ("lines", found.lines)):
                    if name in event["data"].get(part, {}):
                        event["data"][part][name] = value
    previous, lines = "", list[bytes]()
    for seq, event in enumerate(events):
        event |= {"seq": seq, "previous": previous}
        event["hash"] = previous = event_hash(event)
        lines.append(event_line(event))
    paths.events.write_bytes(b"".join(lines))


def altered(kind: str, **values: Any) -> Callable[[list[Event]], list[Event]]:
    """The last event of a kind says something else."""

    def alter(events: list[Event]) -> list[Event]:
        [*_, event] = [event for event in events if event["kind"] == kind]
        assert values.keys() <= event["data"].keys()
        event["data"] |= values
        return events

    return alter


# ── untouched ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_untouched_run_is_verified_whole(paths: RunPaths, known: dict[str, Derived]) -> None:
    found = verify(paths, known)
    assert (found.findings, found.notes) == ([], [])
    files = len(hashes.record(paths))
    assert found.counts["files"] == files > 100
    assert found.counts["commits"] == 6
    assert found.counts["numbers in results.json"] > 800 and found.counts["numbers in report.md"] > 500
    assert found.verdict.startswith("verified: copy: ") and found.head in found.verdict


@pytest.mark.slow
def test_copy_is_verified_read_only_without_cache_torch_or_network(paths: RunPaths, tmp_path: Path) -> None:
    before = {path: (path.stat().st_mtime_ns, path.is_dir() or path.read_bytes()) for path in paths.folder.rglob("*")}
    for path in (*before, paths.folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    alone = Kdagent(tmp_path / "no-runs", tmp_path / "no-cache")
    assert (done := alone("verify", str(paths.folder))).code == 0, done.out + done.err
    assert done.out.startswith("verified: copy: ") and done.out.count("\n") == 1
    check = "import sys; from agent.cli import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    words = [sys.executable, "-c", check, "verify", str(paths.folder)]
    assert subprocess.run(words, cwd=ROOT, env=alone.variables, capture_output=True, timeout=300).returncode == 0
    after = {path: (path.stat().st_mtime_ns, path.is_dir() or path.read_bytes()) for path in paths.folder.rglob("*")}
    assert after == before and not (tmp_path / "no-cache").exists()
    for path in (paths.folder, *before):
        path.chmod(0o755)


def test_run_that_has_only_begun_is_verified_as_far_as_it_goes(tmp_path: Path) -> None:
    paths = runs.create(tmp_path, "an idea", {"idea": "an idea"})
    found = verify(paths)
    assert found.findings == []
    assert any("has no plan yet" in note for note in found.notes) and any("cut off" in note for note in found.notes)
    hashes.stop(paths, "failed", "no data")
    found = verify(paths)
    assert found.findings == [] and found.counts["files"] == 2
    assert found.notes == ["the numbers: the run has no plan yet"]


@pytest.mark.slow
def test_run_killed_before_its_seal_is_verified_and_says_what_was_not_noted(paths: RunPaths) -> None:
    lines = paths.events.read_bytes().splitlines(keepends=True)
    assert json.loads(lines[-1])["kind"] == "sealed"
    paths.events.write_bytes(b"".join(lines[:-1]) + lines[-1][:100])
    runs.update(paths, status="running", reason="")
    record = runs.read(paths)
    record.pop("verdict")
    write_whole(paths.run, json.dumps(record, indent=1))
    found = verify(paths)
    assert found.findings == []
    assert found.notes[0].startswith("events.jsonl:")
    assert any(note.endswith("the run was cut off before the log could record them") for note in found.notes)
    runs.update(paths, status="succeeded")
    assert [finding.file for finding in verify(paths).findings] == ["run.json"]


# ── altered ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_altered_digit_of_the_report_is_named_with_its_line_and_column(paths: RunPaths, gates: Gates) -> None:
    line = change(paths.report, "500", "501")
    text = paths.report.read_text().split("\n")[line - 1]
    done = gates.kdagent("verify", str(paths.folder))
    first, verdict = done.out.splitlines()
    assert done.code == 1
    assert first.startswith(f"report.md:{line}:{text.index('501') + 3}: ") and "; should be " in first
    assert verdict.startswith("NOT VERIFIED: copy: 1 finding; checked: ")
    done = gates.kdagent("verify", str(paths.folder), "--json")
    assert (done.code, done.json["verified"]) == (1, False)
    [finding] = done.json["findings"]
    assert (finding["file"], finding["line"]) == ("report.md", line)


@pytest.mark.slow
def test_every_mutation_is_found_and_placed(paths: RunPaths) -> None:
    """A few of each kind; `python -m tests.campaigns.mutation` makes a thousand."""
    tried = sample(paths, 4 * len(KINDS), seed=1)
    made = [each for group in tried.values() for each in group]
    assert [each for each in made if not each.found] == []
    assert [each for each in made if not each.placed and each.mutation.file != "run.json"] == []
    assert len(made) == 60


@pytest.mark.slow
def test_missing_and_added_files_are_named(paths: RunPaths, known: dict[str, Derived]) -> None:
    (paths.folder / TRIAL / "trace.jsonl").unlink()
    (paths.folder / TRIAL / "extra.json").write_text("{}")
    first, second = sorted(said(paths, known))
    assert first.startswith(f"{TRIAL}/extra.json: a file; should be absent")
    assert second.startswith(f"{TRIAL}/trace.jsonl: missing; should be a file of SHA-256 ")


@pytest.mark.slow
def test_weights_may_be_left_out_and_it_is_said(paths: RunPaths, known: dict[str, Derived]) -> None:
    (paths.folder / TRIAL / "weights.safetensors").unlink()
    found = verify(paths, known)
    assert found.findings == []
    assert found.notes == ["1 file of weights: not here; no number is derived from weights"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["events.jsonl", "results.json", "report.md", "plan.json"])
def test_removed_part_of_the_record_is_found(paths: RunPaths, name: str) -> None:
    (paths.folder / name).unlink()
    assert said(paths)


@pytest.mark.slow
def test_lines_taken_from_the_end_of_the_log_are_missed(paths: RunPaths) -> None:
    lines = paths.events.read_bytes().splitlines(keepends=True)
    for left in (len(lines) - 1, len(lines) - 2, len(lines) - 4, 3, 0):
        paths.events.write_bytes(b"".join(lines[:left]))
        assert said(paths), f"{left} of {len(lines)} lines left"


# ── altered, with every hash put right again ────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_rewriting_hashes_alone_alters_nothing(paths: RunPaths) -> None:
    before = paths.events.read_bytes()
    rewrite(paths)
    assert paths.events.read_bytes() == before


@pytest.mark.slow
def test_record_of_the_version_before_is_verified_in_the_form_of_its_time(paths: RunPaths) -> None:
    def before(events: list[Event]) -> list[Event]:
        for event in events:
            event["data"].pop("results", None)  # what tells that results are of schema 2
        return events

    rewrite(paths, before)
    results = derive(RunRecord.read(paths))
    rows = {row.field: row for row in results.tracks[0].fields}
    assert (results.schema_, rows["method.alpha"].executed) == (1, rows["method.alpha"].planned)
    write_whole(paths.results, results.model_dump_json(by_alias=True, indent=1))
    write_whole(paths.report, render_report(results, review.read(paths)))
    text = paths.report.read_text()
    assert "times its trials met the test inputs" in text and "read at every seed" not in text
    rewrite(paths)
    assert said(paths) == []


@pytest.mark.slow
def test_flipped_predictions_give_other_numbers(paths: RunPaths) -> None:
    from safetensors.numpy import load_file, save_file

    file = paths.folder / TRIAL / "test.safetensors"
    save_file({"logits": -load_file(file)["logits"]}, file)
    rewrite(paths)
    found = verify(paths).findings
    assert {finding.file for finding in found} == {"results.json", "report.md"}
    assert all(finding.line and finding.column for finding in found)


@pytest.mark.slow
@pytest.mark.parametrize("split", ["dev", "test"])
def test_exchanged_labels_are_not_those_that_were_prepared(paths: RunPaths, split: str) -> None:
    from safetensors.numpy import load_file, save_file

    file = paths.label_file("digits", split)
    save_file({"labels": load_file(file)["labels"][::-1].copy()}, file)
    rewrite(paths)
    assert any("as it was prepared (facts.json)" in line for line in said(paths))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("plan.json", '"temperature": 3.0', '"temperature": 4.0', "plan.json: a plan of hash "),
        ("results.json", '"n_examples": 500', '"n_examples": 501', "results.json:"),
        ("report.md", "The plan was fixed", "The plan was guessed", "report.md:"),
        (f"{TRIAL}/trial.json", '"status": "ok"', '"status": "failed"', f"of {TRIAL}"),
        ("conversation/exchanges.jsonl", '"tokens":0', '"tokens":7', "jsonl:1: tokens 7; should be 0"),
        ("conversation/exchanges.jsonl", '"seq":1', '"seq":2', "jsonl:2: seq 2; should be 1"),
        ("repository/refs/heads/attempt-1", "", "0", "repository/refs/heads/attempt-1:1: 0"),
        ("jobs/attempt-1-digits-0/attempt-1/train.py", "return", "return  #", "should be train.py of"),
        ("run.json", '"status": "succeeded"', '"status": "failed"', "run.json:"),
    ],
)  # fmt: skip
def test_altered_file_contradicts_the_rest(paths: RunPaths, file: str, old: str, new: str, expected: str) -> None:
    change(paths.folder / file, old, new)
    rewrite(paths)
    assert any(expected in line for line in said(paths)), said(paths)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("decided", {"dev_score": 0.99}, "dev score 0.99 of attempt 1; should be "),
        ("decided", {"outcome": "discarded"}, "attempt 1 discarded; should be kept"),
        ("decided", {"commit": "0" * 40}, "should be the last of attempt 1"),
        ("attempt", {"tree": "0" * 40}, f"tree {'0' * 40}; should be "),
        ("trial", {"status": "failed"}, "status failed of trials/attempt-1/digits/1; should be ok"),
        ("trial", {"seed": 0}, "trials/attempt-1/digits/0 for the second time"),
        ("trial", {"weights": "0" * 64}, "should be the hash among the files"),
        ("planned", {"hash": "0" * 64}, "plan.json: a plan of hash "),
        ("resumed", {"altered": ["facts.json"]}, "facts.json altered while the run was stopped"),
        ("measured", {"teachers": {"digits": "0" * 64}}, "results.json:"),
        ("test predicted", {"arm": "student_only"}, "no record that attempt-1 was predicted on the test rows"),
    ],
)  # fmt: skip
def test_altered_event_contradicts_the_rest(paths: RunPaths, kind: str, values: Event, expected: str) -> None:
    rewrite(paths, altered(kind, **values))
    assert any(expected in line for line in said(paths)), said(paths)


@pytest.mark.slow
def test_commit_after_its_trials_is_found(paths: RunPaths) -> None:
    def late(events: list[Event]) -> list[Event]:
        [commit] = [event for event in events if event["kind"] == "attempt"]
        rest = [event for event in events if event is not commit]
        place = next(i for i, event in enumerate(rest) if event["kind"] == "decided")
        return [*rest[:place], commit, *rest[place:]]

    rewrite(paths, late)
    assert any("a trial of attempt-1 before its commit; should be the commit first" in line for line in said(paths))


@pytest.mark.slow
def test_event_that_holds_no_sense_is_a_finding_and_no_crash(paths: RunPaths) -> None:
    rewrite(paths, altered("measured", environment=[]))
    assert any("results.json: an error (" in line for line in said(paths))
    rewrite(paths, altered("decided", dev_score="much"))
    assert any("an event that 'data' 'dev_score' is 'much'" in line for line in said(paths))


# ── records of other versions, and records in use ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("schema", [1, 3])
def test_log_of_another_schema_is_refused_with_its_number(tmp_path: Path, schema: int) -> None:
    paths = runs.create(tmp_path, "an idea", {"idea": "an idea"})
    event = {"schema": schema, "seq": 0, "time": "", "kind": "planned", "data": {}, "previous": ""}
    paths.events.write_bytes(event_line(event | {"hash": event_hash(event)}))
    with pytest.raises(DataError, match=rf"events.jsonl:1 has schema {schema}, 2 can be verified"):
        verify(paths)


def test_run_in_use_is_not_verified(kdagent: Kdagent) -> None:
    paths = runs.create(kdagent.runs, "an idea", {"idea": "an idea"})
    with runs.locked(paths):
        done = kdagent("verify", "@last")
    assert done.code == 2 and "is in use by another kdagent process" in done.err
    assert kdagent("verify", "@last").code == 0


# ── the seal ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_file_altered_while_a_run_was_stopped_stays_on_record_as_altered(tmp_path: Path) -> None:
    paths = runs.create(tmp_path, "an idea", {"idea": "an idea"})
    log = paths.logs / "a.log"
    log.write_text("one\ntwo\n")
    hashes.stop(paths, "cancelled", "stopped")
    assert verify(paths).findings == []
    log.write_text("one\nTWO\n")
    [line] = said(paths)
    assert line.startswith("logs/a.log:2: 'TWO'; should be as the file of SHA-256 ")
    hashes.resume(paths)
    assert EventLog(paths.events).count("resumed", altered=["logs/a.log"]) == 1


def test_run_that_goes_on_may_write_what_it_had_noted_when_it_stopped(tmp_path: Path) -> None:
    paths = runs.create(tmp_path, "an idea", {"idea": "an idea"})
    log = paths.logs / "a.log"
    log.write_text("one\n")
    hashes.stop(paths, "cancelled", "stopped")
    hashes.resume(paths)
    runs.update(paths, status="running", reason="")
    log.write_text("another\n")
    assert verify(paths).findings == []
    hashes.stop(paths, "failed", "at last")
    assert verify(paths).findings == []
    kinds = [event["kind"] for event in EventLog(paths.events).read()]
    assert kinds == ["stopped", "resumed", "stopped"]


def test_unwritable_log_does_not_hide_how_a_run_stopped(tmp_path: Path) -> None:
    paths = runs.create(tmp_path, "an idea", {"idea": "an idea"})
    paths.events.mkdir()
    with pytest.raises(OSError):
        hashes.stop(paths, "failed", "disk full")
    assert (runs.read(paths)["status"], runs.read(paths)["reason"]) == ("failed", "disk full")
