"""Folders as a hostile job may leave them, measured, lent and removed."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from sandbox.folder import Holding, lent, measure, reclaim, remove
from sandbox.users import unused_uid
from tests.sandbox.ordinary import as_user

MIB = 1 << 20


def fill(folder: Path) -> Path:
    """Whatever is awkward to delete: locked folders, links outwards, pipes, names that are no text."""
    (folder / "locked" / "in").mkdir(parents=True)
    (folder / "locked" / "in" / "file").write_text("x")
    (folder / "blind").mkdir()
    (folder / "blind" / "file").write_text("x")
    (folder / "out").symlink_to(folder.parent, target_is_directory=True)
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    os.mkdir(os.fsencode(folder) + b"/\xff\n")
    (folder / "locked").chmod(0)
    (folder / "blind").chmod(0o600)
    return folder


def nest(folder: Path, levels: int) -> None:
    """Deeper than any path may be long."""
    code = f"import os, sys\nos.chdir(sys.argv[1])\nfor _ in range({levels}): os.mkdir('d'); os.chdir('d')"
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


def test_holes_cost_nothing_and_second_names_count_once(tmp_path: Path) -> None:
    with open(tmp_path / "holes", "wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "full").write_bytes(bytes(2 * MIB))
    (tmp_path / "again").hardlink_to(tmp_path / "full")
    held = measure(tmp_path)
    assert 2 * MIB <= held.disk < 3 * MIB
    assert (held.files, held.largest) == (3, 1 << 40)


def test_links_are_counted_but_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "big").write_bytes(bytes(2 * MIB))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "outside")
    held = measure(tmp_path / "folder")
    assert held.disk < MIB and (held.files, held.largest) == (1, 0)


def test_counting_ends_at_the_limit(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / str(number)).write_bytes(bytes(8192))
    assert measure(tmp_path, files=10).files == 11
    assert measure(tmp_path, disk=8192 * 20).files < 30


def test_a_missing_folder_holds_nothing(tmp_path: Path) -> None:
    assert measure(tmp_path / "absent") == Holding(0, 0, 0)
    remove(tmp_path / "absent")


def test_counting_survives_a_folder_that_changes_meanwhile(tmp_path: Path) -> None:
    """A count is complete or fails with OSError; what is moved about is not followed out of the folder."""
    (tmp_path / "folder" / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(bytes(5 * MIB))
    stop = threading.Event()

    def shuffle() -> None:
        os.chdir(tmp_path)
        while not stop.is_set():
            os.rename("folder/a/b", "folder/b")
            os.rename("folder/b", "folder/a/b")

    thread = threading.Thread(target=shuffle)
    before = Path.cwd()
    thread.start()
    try:
        for _ in range(2000):
            try:
                assert measure(tmp_path / "folder").disk < MIB
            except OSError:
                continue
    finally:
        stop.set()
        thread.join()
        os.chdir(before)


def test_everything_awkward_is_removed_and_nothing_else(tmp_path: Path) -> None:
    remove(fill(tmp_path / "folder"))
    assert list(tmp_path.iterdir()) == []


def test_a_deep_nest_is_measured_and_removed(tmp_path: Path) -> None:
    fast = "/dev/shm" if Path("/dev/shm").is_dir() else tmp_path  # a disk takes milliseconds for each level
    with tempfile.TemporaryDirectory(dir=fast) as folder:
        nest(Path(folder), 3000)
        assert measure(Path(folder)).files == 3000
        remove(Path(folder))
        assert not Path(folder).exists()
        Path(folder).mkdir()


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    fill(tmp_path / "precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError):
        remove(tmp_path / "link")
    assert (tmp_path / "precious" / "pipe").exists()


def test_an_ordinary_user_removes_what_is_locked_too(tmp_path: Path) -> None:
    fill(tmp_path / "ours" / "folder")
    folder = str(tmp_path / "ours" / "folder")
    code = f"from sandbox.folder import *; f = Path({folder!r}); print(measure(f).files); remove(f)"
    done = as_user(code, tmp_path / "ours")
    assert (done.stdout, done.stderr) == ("9\n", "")
    assert list((tmp_path / "ours").iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root runs jobs as another user")
def test_what_was_lent_to_a_job_that_nobody_saw_end_is_ours_again(tmp_path: Path) -> None:
    (tmp_path / "job" / "in").mkdir(parents=True)
    (tmp_path / "job" / "in" / "weights").touch()
    places, user = [tmp_path / "job", *(tmp_path / "job").rglob("*")], unused_uid()
    assert user is not None
    for place in places:
        os.chown(place, user, user)
    (somebody := tmp_path / "job" / "somebody's").touch()
    os.chown(somebody, 54321, 54321)
    reclaim(tmp_path / "job")
    assert {place.stat().st_uid for place in places} == {os.getuid()}
    assert somebody.stat().st_uid == 54321  # a cache may be shared


@pytest.mark.skipif(os.getuid() != 0, reason="only root runs jobs as another user")
def test_what_roots_job_leaves_can_be_read_by_the_next_one(tmp_path: Path) -> None:
    job, outside = tmp_path / "job", tmp_path / "outside"
    (job / "in").mkdir(parents=True)
    outside.write_text("x")
    outside.chmod(0o600)
    with lent(job, None):
        (job / "in" / "weights").write_text("x")
        (job / "in" / "weights").chmod(0o600)
        (job / "in").chmod(0o700)
        (job / "link").symlink_to(outside)
        os.link(outside, job / "second name")
    assert (job / "in" / "weights").stat().st_mode & 0o777 == 0o644
    assert (job / "in").stat().st_mode & 0o777 == 0o755
    assert outside.stat().st_mode & 0o777 == 0o600
