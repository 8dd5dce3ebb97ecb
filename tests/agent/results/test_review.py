"""Reviews of a plan that waits, of a finished report, and plans that were amended."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.cli import main
from agent.errors import UsageError
from agent.plan.read import plan_of
from agent.record import hashes, runs
from agent.record.events import EventLog, broken_link
from agent.record.files import file_hash, write_whole
from agent.record.paths import RunPaths
from agent.results import review
from tests.agent.command import TINY, Kdagent
from tests.agent.forged import OPTIONS
from tests.agent.gates import Gates
from tests.agent.records import Records


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    """A run whose plan waits for approval."""
    made = runs.create(tmp_path / "runs", "kd", OPTIONS)
    plan = Records(tmp_path / "records").plan
    EventLog(made.events).append("planned", hash=plan.hash, warnings=[])
    write_whole(made.plan, plan.model_dump_json(by_alias=True))
    hashes.stop(made, "awaiting_review", "the plan waits for approval")
    return made


def reviewed(paths: RunPaths, *words: str) -> int:
    return main(["review", paths.id, "--runs-dir", str(paths.folder.parent), *words])


def test_plan_that_nobody_decided_is_pending(paths: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in paths.folder.rglob("*") if path.is_file()}
    assert reviewed(paths) == 8
    assert f"the plan waits for a review: read {paths.plan}" in capsys.readouterr().out
    assert reviewed(paths, "--json") == 8
    said = json.loads(capsys.readouterr().out)
    assert (said["about"], said["pending"], said["reviews"]) == ("plan", True, [])
    assert {path: path.read_bytes() for path in before} == before and not paths.review.exists()


def test_comment_leaves_the_plan_pending(paths: RunPaths) -> None:
    assert reviewed(paths, "--comment", "why six seeds?") == 0
    assert reviewed(paths) == 8
    assert runs.read(paths)["status"] == "awaiting_review"


@pytest.mark.parametrize(("word", "status"), [("approve", "planned"), ("reject", "cancelled")])
def test_decision_is_on_record_with_its_author_and_ends_the_waiting(paths: RunPaths, word: str, status: str) -> None:
    assert reviewed(paths, f"--{word}", "--comment", "a reason", "--author", "Ann") == 0
    assert reviewed(paths) == 0
    [said] = json.loads(paths.review.read_text())["reviews"]
    assert (said["about"], said["decision"], said["text"], said["author"]) == ("plan", word, "a reason", "Ann")
    assert said["time"].endswith("+00:00") and said["subject"] == plan_of(paths).hash  # type: ignore[union-attr]
    assert runs.read(paths)["status"] == status


def test_event_carries_the_review_and_the_hash_of_its_file(paths: RunPaths) -> None:
    for text in ("one", "two"):
        reviewed(paths, "--comment", text)
        event = [e for e in EventLog(paths.events).read() if e["kind"] == "reviewed"][-1]["data"]
        assert event["text"] == text
        assert event["files"] == {"review.json": hashlib.sha256(paths.review.read_bytes()).hexdigest()}
    assert broken_link(EventLog(paths.events).read()) is None


def test_reviews_are_only_ever_added(paths: RunPaths) -> None:
    reviewed(paths, "--comment", "one")
    first = json.loads(paths.review.read_text())["reviews"]
    reviewed(paths, "--approve")
    assert json.loads(paths.review.read_text())["reviews"][:1] == first
    assert [each.decision for each in review.read(paths)] == ["comment", "approve"]


def test_plan_is_decided_once(paths: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    reviewed(paths, "--approve", "--author", "Ann")
    assert reviewed(paths, "--reject") == 2
    assert "was decided by Ann: approve" in capsys.readouterr().err
    assert [each.decision for each in review.read(paths)] == ["approve"]


def test_review_that_a_crash_cut_off_is_whole_after_the_next(paths: RunPaths) -> None:
    reviewed(paths, "--comment", "one")
    paths.review.unlink()
    reviewed(paths, "--comment", "two")
    assert [each["text"] for each in json.loads(paths.review.read_text())["reviews"]] == ["one", "two"]


def test_decision_about_another_plan_does_not_count(paths: RunPaths, tmp_path: Path) -> None:
    reviewed(paths, "--approve")
    other = Records(tmp_path / "other", temperature=9).plan
    write_whole(paths.plan, other.model_dump_json(by_alias=True))
    assert review.decided(paths) is None


def test_author_is_who_git_says(tmp_path: Path) -> None:
    code = "from agent.results.review import author; print(author())"
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3])}
    known = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "Ann Ä"}

    def asked(**more: str) -> str:
        words = [sys.executable, "-X", "utf8", "-c", code]
        return subprocess.run(words, env=home | more, cwd=tmp_path, capture_output=True, check=True).stdout.decode()

    assert asked(**known) == "Ann Ä\n"
    assert asked(LOGNAME="bob") == "bob\n"
    assert asked(LOGNAME="bob", PATH="") == "bob\n"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--comment", "x" * 4001], "4,000 are the most"),
        (["--approve", "--edit", "epochs=2"], "--edit makes a new run"),
        (["--comment", ""], "its value is empty"),
        (["--approve", "--reject"], "not allowed with"),
    ],
)
def test_review_that_makes_no_sense_is_refused(
    paths: RunPaths, words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reviewed(paths, *words) == 2
    assert problem in capsys.readouterr().err
    assert review.read(paths) == ()


def test_run_without_a_plan_has_nothing_to_review(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no plan yet"):
        review.add(runs.create(tmp_path, "kd", OPTIONS), "approve", "", "Ann")


def test_words_that_are_no_unicode_are_kept_as_far_as_they_are(paths: RunPaths) -> None:
    assert reviewed(paths, "--comment", "caf\udce9", "--author", "A" * 300 + "\udce9") == 0
    [said] = review.read(paths)
    assert said.text == "caf?" and said.author == "A" * 200


def test_proposal_is_what_a_model_had_chosen(tmp_path: Path) -> None:
    plan = Records(tmp_path).plan
    origins = plan.provenance | {"tracks.digits.method.alpha": "model", "tracks.digits.training.epochs": "model"}
    said = review.proposal(plan.model_copy(update={"provenance": origins}))
    assert (said.alpha, said.epochs) == (plan.tracks[0].method.alpha, plan.tracks[0].training.epochs)
    assert said.temperature is None and said.title == plan.title


# ── whole runs ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def done(gates: Gates, tmp_path: Path) -> RunPaths:
    """A finished run of one's own."""
    copied = RunPaths(tmp_path / "runs" / gates.paths.id)
    shutil.copytree(gates.paths.folder, copied.folder)
    return copied


@pytest.mark.slow
def test_report_says_who_approved_the_plan(gates: Gates) -> None:
    [said] = review.read(gates.paths)
    assert (said.about, said.decision, said.text) == ("plan", "approve", "with --yes")
    assert f"| {said.time} | plan | approve | {said.author} | with --yes |" in gates.paths.report.read_text()


@pytest.mark.slow
def test_report_is_reviewed_and_shows_it(done: RunPaths) -> None:
    assert reviewed(done) == 8
    assert reviewed(done, "--approve", "--author", "A|b", "--comment", "<b>fine</b>") == 0
    assert reviewed(done) == 0
    section = done.report.read_text().split("## Review\n")[1].split("\n## ")[0]
    assert "| report | approve | A\\|b | &lt;b&gt;fine&lt;/b&gt; |" in section
    assert runs.read(done)["status"] == "succeeded"
    noted = hashes.noted(EventLog(done.events).read())
    for path in (done.review, done.report):
        assert noted[path.name].sha256 == file_hash(path)


@pytest.mark.slow
def test_reviewed_report_is_rendered_again_byte_for_byte(done: RunPaths) -> None:
    reviewed(done, "--reject", "--comment", "too few seeds")
    before = done.report.read_bytes()
    done.report.unlink(), done.review.unlink()
    assert main(["report", done.id, "--runs-dir", str(done.folder.parent)]) == 0
    assert done.report.read_bytes() == before and done.review.exists()


@pytest.mark.slow
def test_approved_plan_trains_without_being_asked_again(kdagent: Kdagent) -> None:
    assert kdagent("run", "soft labels", *TINY, "--plan-only").code == 0
    [folder] = kdagent.runs.iterdir()
    assert kdagent("resume", "@last").code == 8
    assert kdagent("review", "@last", "--approve").code == 0
    process, paths = kdagent.start("resume", "@last"), RunPaths(folder)
    deadline = time.monotonic() + 200
    while not EventLog(paths.events).count("workspace") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=100)
    assert process.returncode == 130 and EventLog(paths.events).count("workspace") == 1


@pytest.mark.slow
def test_rejected_plan_is_never_trained_and_its_amendment_names_it(kdagent: Kdagent) -> None:
    kdagent("run", "soft labels", *TINY, "--plan-only")
    [folder] = kdagent.runs.iterdir()
    assert kdagent("review", "@last", "--reject", "--comment", "too short").code == 0
    said = kdagent("resume", "@last", "--yes")
    old = RunPaths(folder)
    assert said.code == 0 and "the plan was rejected" in said.out
    assert runs.read(old)["status"] == "cancelled" and not old.repository.exists()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    said = kdagent("review", old.id, "--edit", "epochs=2", "--edit", "seeds=[5,6]", "--json")
    assert said.code == 0
    new = RunPaths(kdagent.runs / said.json["run"]["id"])
    first, second = plan_of(old), plan_of(new)
    assert first is not None and second is not None
    assert second.parent == first.hash and runs.read(new)["parent"] == old.id
    assert second.seeds == (5, 6) and second.tracks[0].training.epochs == 2
    assert second.provenance["seeds"] == "user" and second.title == first.title
    same = first.model_dump(exclude={"seeds", "tracks", "parent", "provenance"})
    assert second.model_dump(exclude={"seeds", "tracks", "parent", "provenance"}) == same
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not new.conversation.exists()  # nobody was asked again


@pytest.mark.slow
def test_an_amended_replay_is_a_run_of_its_own(kdagent: Kdagent, tmp_path: Path) -> None:
    known = {"replay": "full", "paces": {"digits": {"plain": 1.0}}}
    replay = runs.create(kdagent.runs, "kd", OPTIONS | known)
    plan = Records(tmp_path / "records").plan
    EventLog(replay.events).append("planned", hash=plan.hash, warnings=[])
    write_whole(replay.plan, plan.model_dump_json(by_alias=True))
    hashes.stop(replay, "awaiting_review", "the plan waits for approval")
    said = kdagent("review", replay.id, "--edit", "epochs=2", "--json")
    options = said.json["run"]["options"]
    assert (options["replay"], options["paces"], options["values"]["epochs"]) == ("", {}, 2)
    again = kdagent("resume", said.json["run"]["id"], "--json")
    assert again.code == 8 and "waits for approval" in again.err


@pytest.mark.slow
def test_amendment_of_what_is_no_field_makes_no_run(done: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert reviewed(done, "--edit", "temperatur=2") == 2
    assert "did you mean temperature?" in capsys.readouterr().err
    assert len(list(done.folder.parent.iterdir())) == 1
