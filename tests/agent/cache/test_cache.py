"""An entry of the cache is as it was written, or it is discarded and rebuilt."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from agent.cache import entries
from agent.record.paths import RunPaths
from sandbox.users import unused_uid
from tests.agent.command import TINY, Kdagent
from tests.agent.gates import Gates
from tests.baselines.lab import sha256

ABOUT = {"track": "digits"}
FILES = {"weights.safetensors": "weights", "logits.safetensors": "logits", "teacher-1/logits.safetensors": "others"}


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def there(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = write(tmp_path / "teachers" / "0123abcd", **FILES)
    entries.note(made, ABOUT)
    return made


def test_folder_that_is_as_it_was_written_is_left_alone(folder: Path) -> None:
    assert entries.check(folder) == ""
    assert there(folder) == set(FILES) and entries.about(folder) == ABOUT


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    first, *others = path.read_bytes()
    path.write_bytes(bytes([first ^ 1, *others]))


def lead_elsewhere(path: Path) -> None:
    path.rename(path.with_suffix(".kept"))
    path.symlink_to(path.with_suffix(".kept").name)


@pytest.mark.parametrize("harm", [cut, flip, Path.unlink, lead_elsewhere])
@pytest.mark.parametrize("name", FILES)
def test_folder_in_which_anything_was_harmed_goes_whole_and_the_file_is_named(folder: Path, name: str, harm) -> None:
    harm(folder / name)
    assert entries.check(folder) == name
    assert not folder.exists() and entries.manifest(folder) is None


def test_what_another_plan_adds_extends_the_manifest(folder: Path) -> None:
    before = entries.manifest(folder)
    unread = {"logits.part": "half", "torchinductor_sandbox/a.json": "compiled", "a.so": "the same"}
    entries.note(write(folder, **unread | {"features-1.safetensors": "features"}), ABOUT)
    assert before and entries.manifest(folder) == before | {
        "features-1.safetensors": sha256(folder / "features-1.safetensors")
    }
    assert entries.check(folder) == "" and there(folder) == {*FILES, *unread, "features-1.safetensors"}


def test_file_that_a_later_process_changed_is_not_vouched_for_by_the_manifest_that_it_extends(folder: Path) -> None:
    entries.note(write(folder, **{"logits.safetensors": "of another", "features-1.safetensors": "features"}), ABOUT)
    assert entries.check(folder) == "logits.safetensors"


def test_job_that_ended_is_known_beside_others_until_the_entry_is_discarded(folder: Path) -> None:
    assert not entries.has_done(folder, "first")
    entries.note(folder, ABOUT, job="first")
    entries.note(folder, ABOUT, job="second")
    assert entries.has_done(folder, "first") and entries.has_done(folder, "second")
    cut(folder / "weights.safetensors")
    entries.check(folder)
    assert not entries.has_done(folder, "first")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("finished", [True, False])
def test_what_a_killed_job_of_another_user_left_is_ours_again(folder: Path, finished: bool) -> None:
    """Files were lent to the job's user, and whoever lent them was killed."""
    if not finished:
        folder.with_suffix(".json").unlink()
        write(folder, **{"teacher-1/trainer/checkpoint-2/weights.safetensors": "half"})
    user = unused_uid() or 0
    assert user
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user, user)
    (folder / "teacher-1").chmod(0)
    assert entries.check(folder) == ""
    assert {path.stat().st_uid for path in (folder, *folder.rglob("*"))} == {0}


@pytest.mark.parametrize("manifest", [None, "", "{", "[]", '{"schema": 1}', "[" * 100_000])
def test_nothing_counts_that_no_manifest_names(folder: Path, manifest: str | None) -> None:
    (path := folder.with_suffix(".json")).unlink()
    if manifest is not None:
        path.write_text(manifest)
    assert entries.check(folder) == "" and there(folder) == set()


def test_process_that_was_cut_off_leaves_its_trained_weights_and_its_checkpoints_and_nothing_else(
    tmp_path: Path,
) -> None:
    """As a kill leaves it: one teacher is trained, the next one is at work, and no manifest is there yet."""
    left = write(tmp_path / "0123abcd", **FILES | {"teacher-1/trainer/checkpoint-2/manifest.json": "{}"})
    (left / "features-1.safetensors").symlink_to("weights.safetensors")
    ended = {"schema": 1, "files": {"weights.safetensors": sha256(left / "weights.safetensors")}}
    write(left, **{"teacher.json": json.dumps(ended)})
    assert entries.check(left) == ""
    whole = {"teacher.json", "weights.safetensors", "teacher-1/trainer/checkpoint-2/manifest.json"}
    assert there(left) == whole
    cut(left / "weights.safetensors")
    assert entries.check(left) == ""
    assert there(left) == {"teacher-1/trainer/checkpoint-2/manifest.json"}


def test_folder_is_in_use_while_it_is_filled_and_while_it_is_read(folder: Path) -> None:
    locks = (entries.lock(folder), folder)
    with entries.alone(folder), entries.unused(*locks) as ours:
        assert not ours
    with entries.unused(*locks) as ours:
        assert ours
    entries.use(folder)
    with entries.unused(*locks) as ours:
        assert not ours


@pytest.mark.slow
def test_run_makes_again_what_was_harmed_and_says_so_and_nobody_takes_it_from_a_run_at_work(
    gates: Gates, tmp_path: Path
) -> None:
    kdagent = Kdagent(tmp_path / "runs", tmp_path / "cache")
    for kind in ("arrow", "data", "teachers"):
        if (gates.kdagent.cache / kind).exists():
            shutil.copytree(gates.kdagent.cache / kind, kdagent.cache / kind)
    assert kdagent("run", "soft labels", *TINY, "--plan-only").code == 0
    [paths] = map(RunPaths, kdagent.runs.iterdir())
    [facts] = json.loads(paths.facts.read_text())["tracks"].values()
    rows = Path(facts["folder"]) / "seen" / "train.safetensors"
    before = {path: sha256(path) for path in (rows, *(kdagent.cache / "teachers").glob("*/logits.safetensors"))}
    for path in before:
        cut(path)
    process = kdagent.start("resume", "@last", "--yes")
    while not [*paths.jobs.glob("pilot-*")] and process.poll() is None:
        time.sleep(0.05)
    said = kdagent("cache", "rm", "--all", "--yes")
    assert said.code == 2 and "is in use by a run, so nothing was removed" in said.err
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    lines = [line for line in paths.report.read_text().splitlines() if "did not match its hash" in line]
    assert lines == [
        "- digits: prepared rows in the cache were rebuilt: seen/train.safetensors did not match its hash",
        "- digits: the teacher's files in the cache were rebuilt: logits.safetensors did not match its hash",
    ]
    trained = json.loads((paths.jobs / "teacher-digits" / "job-0.json").read_text())["out"]
    for path in (rows, Path(trained) / "logits.safetensors"):
        assert sha256(path) == before[path]
    found = kdagent("cache", "ls", "--json").json["entries"]
    named = {each["key"]: each["about"] for each in found if paths.id in each["runs"]}
    assert named.keys() == {Path(trained).name, rows.parents[1].name} and "accuracy 0." in named[Path(trained).name]
    assert any(f"of run {paths.id}, accuracy 0." in each["about"] for each in found)
    assert kdagent("cache", "rm", "--all", "--yes").code == 0
    assert kdagent("verify", "@last").code == 0 and not kdagent("cache", "ls", "--json").json["entries"]
