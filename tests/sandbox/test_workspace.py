import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.errors import WorkspaceError
from sandbox.workspace import Workspace
from tests.sandbox.slow_git import SlowGit

OLD = 'def train(experiment):\n    """Ünïcode, form feed \x0c, line separator \u2028."""\n    return None'
NEW = OLD.replace("return None", "student = experiment.student\n    return student\n")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "repository")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_equal_content_has_equal_ids(workspace: Workspace, tmp_path: Path) -> None:
    other = Workspace.create(tmp_path / "other")
    for place in (workspace, other):
        first = place.commit("kd", OLD, "first\n")
        assert place.commit("kd", NEW, "second\n", parent=first.id).id == "f650a727cbf50cd76399b4c150a41374cec4d8f6"


def test_user_identity_and_configuration_do_not_change_the_id(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = workspace.commit("kd", OLD, "first\n")
    (tmp_path / "config").write_text("[i18n]\n\tcommitEncoding = latin1\n[core]\n\tautocrlf = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "somebody")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert Workspace.open(tmp_path / "repository").commit("kd", OLD, "first\n") == expected


def test_commit_holds_one_file_and_moves_the_branch(workspace: Workspace) -> None:
    first = workspace.commit("kd/attempt", OLD, "-m --amend\n\nover two lines")
    second = workspace.commit("kd/attempt", NEW, "second", parent=first.id)
    assert git(workspace.folder, "ls-tree", "--name-only", second.id) == "train.py"
    assert git(workspace.folder, "rev-list", "kd/attempt").split() == [second.id, first.id]
    assert git(workspace.folder, "log", "-1", "--format=%an %ae %s", first.id) == "kdagent kdagent@localhost -m --amend"
    assert git(workspace.folder, "rev-parse", f"{second.id}^{{tree}}") == second.tree
    assert git(workspace.folder, "fsck", "--strict") == ""


def test_committing_twice_changes_nothing(workspace: Workspace) -> None:
    first = workspace.commit("kd", OLD, "first")
    assert workspace.commit("kd", OLD, "first") == first
    assert git(workspace.folder, "rev-list", "--all", "--count") == "1"


@pytest.mark.parametrize("source", [OLD, NEW, "", "x = 1\r\ny = 2\r\n", "\n\n"])
def test_read_returns_what_was_committed(workspace: Workspace, source: str) -> None:
    assert workspace.read(workspace.commit("kd", source, "m").id) == source


@pytest.mark.parametrize(("old", "new"), [(OLD, NEW), (NEW, OLD), ("", NEW), (NEW, ""), ("a\r\nb\n", "a\r\nc")])
def test_diff_applies(workspace: Workspace, tmp_path: Path, old: str, new: str) -> None:
    first, second = (workspace.commit("kd", source, "m").id for source in (old, new))
    train = workspace.export(first, tmp_path / "copy")
    (tmp_path / "change.diff").write_bytes(workspace.diff(first, second).encode())
    subprocess.run(["git", "apply", "--whitespace=nowarn", "../change.diff"], cwd=train.parent, check=True)
    assert train.read_bytes() == new.encode()


def test_diff_does_not_depend_on_the_users_settings(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (workspace.commit("kd", source, "m").id for source in (OLD, NEW))
    expected = workspace.diff(first, second)
    assert "--- a/train.py\n+++ b/train.py\n@@ -1,3 +1,4 @@" in expected
    monkeypatch.setenv("GIT_DIFF_OPTS", "--unified=0")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "/bin/false")
    assert workspace.diff(first, second) == expected
    assert workspace.diff(first, first) == ""


def test_hooks_never_run(workspace: Workspace, tmp_path: Path) -> None:
    assert not (workspace.folder / "hooks").exists()
    hook = workspace.folder / "hooks" / "reference-transaction"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    workspace.commit("kd", OLD, "m")
    assert not (tmp_path / "ran").exists()
    git(workspace.folder, "update-ref", "refs/heads/other", "kd")
    assert (tmp_path / "ran").exists()  # the hook would bite


PROMISED = {"core.repositoryformatversion": "1", "extensions.partialClone": "o", "remote.o.promisor": "true"}
PROGRAMS = (
    *(
        "core.fsmonitor",
        "core.pager",
        "core.editor",
        "core.sshCommand",
        "core.gitProxy",
        "core.askPass",
        "diff.external",
    ),
    *("diff.x.command", "diff.x.textconv", "filter.x.clean", "filter.x.smudge", "filter.x.process", "pager.cat-file"),
)


@pytest.mark.parametrize(
    "settings",
    [
        {name: "{program}" for name in PROGRAMS} | {"filter.x.required": "true", "alias.cat-file": "!{program}"},
        {"core.hooksPath": "{folder}"},
        {"commit.gpgSign": "true", "gpg.program": "{program}"},
        PROMISED | {"remote.o.url": "{folder}", "remote.o.uploadpack": "{program};"},
        PROMISED | {"remote.o.url": "ext::{program}", "protocol.ext.allow": "always"},
        PROMISED | {"remote.o.url": "ssh://x/y", "core.sshCommand": "{program}"},
    ],
    ids=["programs", "hooks", "signing", "promised objects", "promised by a program", "promised over ssh"],
)
def test_programs_that_a_repository_names_never_run(
    workspace: Workspace, tmp_path: Path, settings: dict[str, str]
) -> None:
    program = tmp_path / "reference-transaction"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    first, second = (workspace.commit("kd", source, "m") for source in (OLD, NEW))
    for name, value in settings.items():
        git(workspace.folder, "config", name, value.format(program=program, folder=tmp_path))
    (workspace.folder / "info").mkdir(exist_ok=True)
    (workspace.folder / "info" / "attributes").write_text("* diff=x filter=x\n")
    again = Workspace.open(workspace.folder)
    assert again.read(first.id) == OLD
    again.diff(first.id, second.id)
    again.export(again.commit("kd", OLD + "\n", "m", parent=second.id).id, tmp_path / "code")
    with pytest.raises(WorkspaceError):
        again.read("1" * 40)  # a missing object is what a promise is asked for
    assert not (tmp_path / "ran").exists()


def test_a_commit_replaced_by_another_is_read_as_it_was(workspace: Workspace) -> None:
    first, second = (workspace.commit("kd", source, "m") for source in (OLD, NEW))
    git(workspace.folder, "update-ref", f"refs/replace/{first.id}", second.id)
    assert git(workspace.folder, "show", f"{first.id}:train.py") == NEW.strip()  # the replacement would bite
    assert Workspace.open(workspace.folder).read(first.id) == OLD


@pytest.mark.parametrize("kind", ["commit", "tree", "blob"])
def test_changed_object_is_refused(workspace: Workspace, kind: str) -> None:
    first, second = (workspace.commit("kd", source, "m") for source in (OLD, NEW))
    names = {"commit": "{}", "tree": "{}^{{tree}}", "blob": "{}:train.py"}
    old, new = (git(workspace.folder, "rev-parse", names[kind].format(made.id)) for made in (first, second))
    stored = workspace.folder / "objects" / old[:2] / old[2:]
    stored.unlink()
    stored.write_bytes((workspace.folder / "objects" / new[:2] / new[2:]).read_bytes())
    for use in (workspace.read, lambda commit: workspace.diff(commit, second.id)):
        with pytest.raises(WorkspaceError, match=f"{kind} {old} in .* was changed|hash mismatch"):
            use(first.id)


def test_commit_of_other_files_is_refused(workspace: Workspace) -> None:
    blob = git(workspace.folder, "rev-parse", workspace.commit("kd", OLD, "m").id + ":train.py")
    (workspace.folder / "entries").write_text(f"100644 blob {blob}\ttrain.py\n100644 blob {blob}\tjson.py\n")
    with (workspace.folder / "entries").open() as entries:
        words = ["git", "-C", str(workspace.folder), "mktree"]
        tree = subprocess.run(words, stdin=entries, capture_output=True, text=True, check=True).stdout.strip()
    commit = git(workspace.folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit-tree", tree, "-m", "x")
    with pytest.raises(WorkspaceError, match=r"does not contain train\.py alone"):
        workspace.read(commit)


def test_export_replaces_a_planted_link(workspace: Workspace, tmp_path: Path) -> None:
    secret = tmp_path / "bashrc"
    secret.write_text("untouched")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").symlink_to(secret)
    train = workspace.export(workspace.commit("kd", NEW, "m").id, tmp_path / "code")
    assert train == tmp_path / "code" / "train.py"
    assert (train.read_text(), secret.read_text()) == (NEW, "untouched")
    assert stat.S_IMODE(train.stat(follow_symlinks=False).st_mode) == 0o644
    assert os.listdir(train.parent) == ["train.py"]


def test_what_a_kill_left_half_done_is_no_obstacle(workspace: Workspace, tmp_path: Path) -> None:
    (workspace.folder / "refs" / "heads").mkdir(exist_ok=True)
    (workspace.folder / "refs" / "heads" / "kd.lock").touch()
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py.part").write_text("ha")
    train = workspace.export(workspace.commit("kd", NEW, "m").id, tmp_path / "code")
    assert train.read_text() == NEW
    assert os.listdir(train.parent) == ["train.py"]


def test_open_sees_what_was_committed_before(workspace: Workspace) -> None:
    first = workspace.commit("kd", OLD, "m")
    assert Workspace.open(workspace.folder).read(first.id) == OLD


def test_create_refuses_a_folder_that_holds_something(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="not empty"):
        Workspace.create(workspace.folder)


def test_open_refuses_a_folder_without_a_repository(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="not a git repository"):
        Workspace.open(tmp_path)


@pytest.mark.parametrize("commit", ["HEAD", "--help", "0" * 39, "0" * 40 + "\n"])
def test_only_full_commit_ids_reach_git(workspace: Workspace, commit: str) -> None:
    with pytest.raises(WorkspaceError, match="not a commit id"):
        workspace.read(commit)


def test_unknown_commit_names_the_repository(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match=rf"git cat-file in {workspace.folder}: .*{'0' * 40}"):
        workspace.read("0" * 40)


@pytest.mark.parametrize("branch", ["", "a..b", "a b", "../x"])
def test_bad_branch_is_refused(workspace: Workspace, branch: str) -> None:
    with pytest.raises(WorkspaceError, match="git update-ref"):
        workspace.commit(branch, OLD, "m")


def test_half_a_character_is_refused(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="not valid Unicode"):
        workspace.commit("kd", "x = '\ud800'", "m")


def test_missing_git_says_install_git(tmp_path: Path) -> None:
    script = (
        "import sandbox.workspace as w, pathlib\n"
        "try: w.Workspace.create(pathlib.Path('repository'))\n"
        "except w.WorkspaceError as error: print(error.message, '/', error.hint)"
    )
    environment = {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "git cannot be run: the program was not found / install git\n", done.stderr


INTERRUPTED = """
import signal, sys
from pathlib import Path
seen = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: seen.append(number))
from sandbox.workspace import Workspace
print(Workspace.open(Path(sys.argv[1])).commit("kd", sys.argv[2], "first").id, *seen)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_of_all_our_processes_lets_git_finish(workspace: Workspace, number: int) -> None:
    """Git waits for a pipe in the place of a file of its own until the interrupt has been sent."""
    waited_for = workspace.folder / "objects/info/alternates"
    waited_for.parent.mkdir(exist_ok=True)
    os.mkfifo(waited_for)
    process = start(INTERRUPTED, str(workspace.folder), OLD)
    pipe = opened(waited_for)
    waited_for.unlink()  # the next git must not wait
    os.killpg(process.pid, number)
    time.sleep(0.2)
    os.close(pipe)
    said, _ = process.communicate(timeout=60)
    assert said.split() == [workspace.commit("kd", OLD, "first").id, str(int(number))]


def start(code: str, *words: str, **environment: str) -> subprocess.Popen[str]:
    """Python code as the leader of a process group, as a terminal starts a command."""
    command = [sys.executable, "-c", code, *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, text=True, start_new_session=True, **pipes)


def opened(pipe: Path) -> int:
    """The end of a named pipe that is written to, as soon as somebody reads from the other."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            time.sleep(0.01)
    raise TimeoutError(f"nobody reads {pipe}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_git_is_looked_for_is_not_a_missing_git(tmp_path: Path, number: int) -> None:
    """GitPython asks git for its version when it is imported."""
    Workspace.create(tmp_path / "repository")
    git = SlowGit(tmp_path / "bin", "version")
    process = start(INTERRUPTED, str(tmp_path / "repository"), OLD, PATH=git.path)
    git.wait()
    os.killpg(process.pid, number)
    said, err = process.communicate(timeout=60)
    assert said.split()[1:] == [str(int(number))], err
