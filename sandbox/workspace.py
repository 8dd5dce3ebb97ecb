"""The run's git repository: one commit of one file, train.py, for every arm and attempt.

The repository is bare: there is no work tree to trust. Hooks and the user's git configuration are switched off, and
whatever the repository's own configuration, no program but git is started and an id stands for its own content.
Source and messages reach git through standard input only, never on a command line.
"""

import hashlib
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from sandbox.errors import WorkspaceError

FILE = "train.py"

_EPOCH = "2000-01-01T00:00:00+0000"  # a fixed date, so that equal content has an equal id
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "core.hooksPath",
    "GIT_CONFIG_VALUE_0": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_DIFF_OPTS": "--unified=3",  # it would win over the same option on the command line
    "GIT_ALLOW_PROTOCOL": "none",  # a missing object would be fetched, by a program that the repository names
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",  # an id stands for its own content
    "XDG_CONFIG_HOME": os.devnull,  # git looks for attributes there even without a configuration
    "GIT_AUTHOR_NAME": "kdagent",
    "GIT_AUTHOR_EMAIL": "kdagent@localhost",
    "GIT_AUTHOR_DATE": _EPOCH,
    "GIT_COMMITTER_NAME": "kdagent",
    "GIT_COMMITTER_EMAIL": "kdagent@localhost",
    "GIT_COMMITTER_DATE": _EPOCH,
}


@dataclass(frozen=True)
class Commit:
    """One version of train.py."""

    id: str
    tree: str
    """Equal for equal train.py, whatever the parent and the message."""


class Workspace:
    """Every method raises WorkspaceError when git is missing or refuses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._package = _git_package()
        self._git = self._package.Git(self.folder)
        self._git.update_environment(**_ENVIRONMENT, GIT_DIR=str(self.folder))

    @classmethod
    def create(cls, folder: Path) -> "Workspace":
        """Makes an empty repository. Raises WorkspaceError when the folder is not empty."""
        workspace = cls(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise WorkspaceError(f"cannot make a repository in {folder}: it is not empty", "open it, or name another")
        workspace._run("init", "--quiet", "--bare", "--template=", "--initial-branch=main")
        return workspace

    @classmethod
    def open(cls, folder: Path) -> "Workspace":
        """The repository in `folder`. Raises WorkspaceError where there is none."""
        workspace = cls(folder)
        if not (folder / "HEAD").is_file():
            raise WorkspaceError(f"{folder} is not a git repository", "was the run made here, and is it complete?")
        return workspace

    def commit(self, branch: str, source: str, message: str, parent: str | None = None) -> Commit:
        """Stores `source` as train.py and moves `branch` to it. The same four values always give the same commit."""
        blob = self._id("hash-object", "-w", "--stdin", stdin=source)
        tree = self._id("mktree", stdin=f"100644 blob {blob}\t{FILE}\n")
        parents = () if parent is None else ("-p", _checked(parent))
        commit = self._id("commit-tree", tree, *parents, stdin=message)
        (self.folder / f"refs/heads/{branch}.lock").unlink(missing_ok=True)  # of a git that was killed
        self._run("update-ref", f"refs/heads/{branch}", commit)
        return Commit(commit, tree)

    def read(self, commit: str) -> str:
        """The train.py of a commit. Raises WorkspaceError where the repository has anything else under its id."""
        tree = self._object("commit", _checked(commit))[5:45].decode(errors="replace")
        entry = self._object("tree", _checked(tree))
        name, blob = entry[:-20], entry[-20:].hex()
        if name != f"100644 {FILE}\0".encode():
            raise WorkspaceError(f"commit {commit} in {self.folder} does not contain {FILE} alone")
        return self._object("blob", blob).decode()

    def diff(self, old: str, new: str) -> str:
        """The unified diff of train.py, as `git apply` takes it; empty when both are the same."""
        form = ("-p", "--text", "--full-index", "--diff-algorithm=histogram", "--no-renames")
        plain = ("--no-color", "--no-ext-diff", "--no-textconv")
        self.read(old), self.read(new)  # git compares what it finds under their ids and checks none
        changes = self._run("diff-tree", *form, *plain, _checked(old), _checked(new))
        return changes.decode(errors="replace")  # git may cut the function name after @@ inside a character

    def export(self, commit: str, folder: Path) -> Path:
        """Writes folder/train.py in one step, over whatever had that name, and returns its path."""
        source = self.read(commit).encode()
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{FILE}.part"
        part.unlink(missing_ok=True)  # of a process that was killed
        with part.open("xb") as file:
            file.write(source)
            os.fchmod(file.fileno(), 0o644)
        return part.replace(folder / FILE)

    def _object(self, kind: str, name: str) -> bytes:
        content = self._run("cat-file", kind, name)
        if hashlib.sha1(b"%s %d\0%s" % (kind.encode(), len(content), content)).hexdigest() != name:
            raise WorkspaceError(f"{kind} {name} in {self.folder} was changed", "the record is damaged: run it again")
        return content

    def _id(self, *arguments: str, stdin: str) -> str:
        return self._run(*arguments, stdin=stdin).decode().strip()

    def _run(self, *arguments: str, stdin: str = "") -> bytes:
        """The output of one git command."""
        with tempfile.TemporaryFile() as text:
            try:
                text.write(stdin.encode())
                text.seek(0)
                output: bytes = self._git.execute(
                    ["git", *arguments],
                    istream=text,
                    stdout_as_string=False,
                    strip_newline_in_stdout=False,
                    start_new_session=True,  # a Ctrl-C at the terminal is ours: git finishes what it was told to write
                )
            except UnicodeEncodeError as error:
                raise WorkspaceError(f"git {arguments[0]}: the text is not valid Unicode: {error.reason}") from error
            except self._package.CommandError as error:
                reason = str(error.stderr).strip() or f"exit status {error.status}"
                raise WorkspaceError(f"git {arguments[0]} in {self.folder}: {reason}") from error
        return output


def _git_package() -> ModuleType:
    try:
        with _signals_held():  # by the program too, which inherits it: Ctrl-C would look as if there were none
            import git
    except ImportError as error:  # GitPython looks for the program when it is imported
        raise WorkspaceError("git cannot be run: the program was not found", "install git") from error
    return git


@contextmanager
def _signals_held() -> Iterator[None]:
    """Ctrl-C and the request to end wait until the block has been left."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _checked(commit: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise WorkspaceError(f"{commit!r} is not a commit id", "give the 40 hexadecimal digits of Commit.id")
    return commit
