"""An archive: a run as one file that anybody can carry and nobody has to trust.

    <id>/manifest.json          what is in it, with sizes and hashes; revisions and hashes of data and models
    <id>/run.json, trials/…     the record, without scratch, lock and checkpoints; weights on request
    <id>/repository.bundle      every arm and attempt, as `git clone` takes it
    <id>/data/<track>/…         the prepared rows, on request and where they are small

It is a gzipped tar of plain files with fixed order, times, owners and modes, so the same record gives the same bytes.
The manifest comes first, and reading takes nothing but what it announces: byte for byte the one header that such a file
has, so that there is no link, device, sparse file or second spelling of a name to be fooled by. No git reads what came
from outside before it was checked, nothing is unpickled, and nothing is run.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import tarfile
import tempfile
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import GzipFile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationError

from agent import __version__
from agent.errors import DataError, UsageError
from agent.frozen import Record
from agent.recheck import readable
from agent.recheck.bundle import Bundled
from agent.record import runs
from agent.record.events import EventLog, now
from agent.record.files import file_hash, first_problem
from agent.record.paths import STEP, RunPaths
from agent.record.prepared import Prepared, read_facts
from sandbox.errors import WorkspaceError
from sandbox.folder import measure, remove

MANIFEST = "manifest.json"
BUNDLE = "repository.bundle"
NEVER = (
    "lock",
    "scratch",
    "clock.json",
    "repository",
    "state.sqlite",
    "state.sqlite-wal",
    "state.sqlite-shm",
    MANIFEST,
)
"""Not part of a record, or derived from it."""
SUFFIXES = (".json", ".jsonl", ".md", ".txt", ".py", ".log", ".safetensors", ".html", ".svg", ".png", ".csv", ".bundle")
"""Suffixes of the files of a record; none of them is ever unpickled or run."""
PART = r"[A-Za-z0-9_][A-Za-z0-9_.+=,@-]{0,127}"
"""The name of a run."""
MOST_MANIFEST = 32 << 20
MOST_FILES = 100_000
MOST_BYTES = 64 << 30
MOST_DATA = 64 << 20
"""Bytes of prepared data that still count as small."""
MOST_RECORD = 1 << 20
"""Bytes of run.json, which every list of runs reads."""
BLOCK = 512
CHUNK = 1 << 20


class File(Record):
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(Record):
    schema_: Literal[1] = Field(1, alias="schema")
    run: Annotated[str, Field(pattern=f"^{PART}$")]
    version: str
    """Of the kdagent that wrote it."""
    revisions: dict[str, dict[str, str]]
    """Per track: source, revision and hash of the data; origin, revision and hash of the models."""
    files: dict[str, File]
    """In the order in which they follow."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def export(paths: RunPaths, target: Path, weights: bool = False, data: bool = False) -> None:
    """Writes the archive of a run that nobody changes meanwhile; whole or not at all.

    Raises UsageError when `target` exists or the data are too large, DataError for a file that no archive may hold.
    """
    if target.exists() or not target.parent.is_dir():
        problem = "exists" if target.exists() else "cannot be made: its folder does not exist"
        raise UsageError(f"{target} {problem}", "name another file")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        bundle, part = Path(folder, BUNDLE), Path(folder, target.name)
        if paths.repository.exists():
            Bundled(paths.repository).bundle(bundle)
        files = dict(sorted(_files(paths, bundle, weights, data)))
        _check_names(list(files), "the run")
        described = {name: File(size=path.stat().st_size, sha256=file_hash(path)) for name, path in files.items()}
        manifest = Manifest(schema=1, run=paths.id, version=__version__, revisions=_revisions(paths), files=described)
        with part.open("wb") as raw, GzipFile("", "wb", 6, raw, mtime=0) as stream:
            _write(stream, manifest, files)
        part.rename(target)


def _files(paths: RunPaths, bundle: Path, weights: bool, data: bool) -> Iterator[tuple[str, Path]]:
    """Name in the archive and path of everything that goes in."""
    for path in paths.folder.rglob("*"):
        name = path.relative_to(paths.folder)
        kept = name.parts[0] not in NEVER and path.suffix != ".part" and (weights or path.stem != "weights")
        if kept and (path.is_symlink() or not path.is_dir()):
            yield name.as_posix(), _plain(path)
    if bundle.exists():
        yield BUNDLE, bundle
    if data:
        yield from _data(paths)


def _data(paths: RunPaths) -> Iterator[tuple[str, Path]]:
    for track, known in _prepared(paths).items():
        folder = Path(known.folder)
        if not folder.is_dir():
            raise UsageError(f"the data of {track} are gone from {folder}", "leave --data out, or prepare them again")
        if (size := measure(folder).disk) > MOST_DATA:
            problem = f"the data of {track} are {size >> 20} MB; {MOST_DATA >> 20} MB are the most an archive takes"
            raise UsageError(problem, "leave --data out: the manifest names their revision and hash")
        for path in folder.rglob("*"):
            if not path.is_dir():
                yield f"data/{track}/{path.relative_to(folder).as_posix()}", _plain(path)


def _plain(path: Path) -> Path:
    if path.is_symlink() or not path.is_file():
        raise DataError(f"{path} is not a plain file", "the record was changed by hand: restore it")
    return path


def _prepared(paths: RunPaths) -> dict[str, Prepared]:
    return read_facts(paths).tracks if paths.facts.exists() else {}


def _revisions(paths: RunPaths) -> dict[str, dict[str, str]]:
    """The data and models needed to repeat the run, and the hashes that identify them."""
    found = {}
    trained = [event["data"]["weights"] for event in EventLog(paths.events).read() if event["kind"] == "teachers"]
    for track, known in _prepared(paths).items():
        data = {key: str(getattr(known, key)) for key in ("source", "revision", "hash", "encoded")}
        models = {f"{who}_revision": str(model.spec.get("revision", "")) for who, model in known.models.items()}
        teacher = {"teacher_weights": trained[-1].get(track, "")} if trained else {}
        found[track] = data | models | teacher
    return found


def _write(stream: GzipFile, manifest: Manifest, files: dict[str, Path]) -> None:
    text = json.dumps(manifest.model_dump(by_alias=True), indent=1).encode()
    stream.write(_header(f"{manifest.run}/{MANIFEST}", len(text)) + text + _padding(len(text)))
    for name, path in files.items():
        size = manifest.files[name].size
        stream.write(_header(f"{manifest.run}/{name}", size))
        with path.open("rb") as source:
            shutil.copyfileobj(source, stream, CHUNK)
        stream.write(_padding(size))
    stream.write(bytes(2 * BLOCK))


def _header(name: str, size: int) -> bytes:
    """The one header that a file of an archive has. Raises DataError for a name that does not fit."""
    entry = tarfile.TarInfo(name)
    entry.size = size
    try:
        return entry.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
    except ValueError as error:  # too long for the format, or not Unicode
        raise DataError(f"{name!r:.200} cannot be the name of a file in an archive: {error}") from error


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def unpack(file: Path, folder: Path) -> RunPaths:
    """The run in an archive, as a run in `folder`; whole or not at all.

    Raises UsageError when the run is there already or does not fit on the disk, DataError for everything that an
    archive of `export` cannot hold.
    """
    if not file.is_file():
        raise UsageError(f"{file} is not a file", "name a file that kdagent export wrote")
    part = RunPaths(Path(tempfile.mkdtemp(prefix=".import-", dir=folder)))
    try:
        with runs.locked(part), _damage(file):
            with GzipFile(file) as stream:
                manifest = _read_manifest(stream, folder)
                _extract(stream, manifest, part.folder)
            _build_repository(part)
            readable.check(part, manifest.run)
        runs.update(part, imported={"time": now(), "archive": file_hash(file)})
        part.folder.chmod(0o755)
        return _place(part, folder / manifest.run)
    except BaseException:
        remove(part.folder)
        raise


@contextmanager
def _damage(file: Path) -> Iterator[None]:
    """Turns the errors that hostile or damaged bytes raise into one of ours that names the file."""
    try:
        yield
    except (DataError, WorkspaceError) as error:
        raise DataError(f"{file}: {error.message}", error.hint) from error
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, ValueError, IndexError, RecursionError) as error:
        hint = "get the file again; only files that kdagent export wrote can be imported"
        raise DataError(f"{file} is not a complete archive of a run: {error}", hint) from error


def _read_manifest(stream: GzipFile, folder: Path) -> Manifest:
    header = _take(stream, BLOCK)
    first = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    if not re.fullmatch(f"{PART}/{MANIFEST}", first.name) or header != _header(first.name, first.size):
        raise DataError(f"begins with {_described(header)}, not with its manifest")
    if first.size > MOST_MANIFEST:
        raise DataError(f"its manifest has {first.size:,} bytes, {MOST_MANIFEST:,} are the most")
    text = _take(stream, first.size)
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise DataError(f"manifest: {first_problem(error)}") from error
    if first.name != f"{manifest.run}/{MANIFEST}":
        raise DataError(f"its folder is {first.name.split('/')[0]}, its manifest names {manifest.run}")
    _check_names(list(manifest.files), "the manifest")
    _check_size(manifest, folder)
    _pass_padding(stream, first.size)
    return manifest


def _check_names(names: list[str], who: str) -> None:
    """Raises DataError for a name that could lead elsewhere, stand for two files, or is not part of a record."""
    if len(names) > MOST_FILES:
        raise DataError(f"{who} has {len(names):,} files, {MOST_FILES:,} are the most")
    seen: set[str] = set()
    for name in names:
        if not re.fullmatch(f"{STEP}(/{STEP}){{0,11}}", name):
            raise DataError(f"{who} has {name!r:.200}, which is not a plain relative path")
        same = unicodedata.normalize("NFKC", name).casefold()  # some file systems take names for one that look alike
        if same.split("/")[0] in NEVER or not name.endswith(SUFFIXES):
            raise DataError(f"{who} has {name!r:.200}, which is not part of a record")
        if same in seen:
            raise DataError(f"{who} has {name!r:.200} twice")
        seen.add(same)
    for name in seen:
        if inside := next((parent for parent in _parents(name) if parent in seen), ""):
            raise DataError(f"{who} has {inside!r:.200} as a file and as a folder")


def _parents(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _check_size(manifest: Manifest, folder: Path) -> None:
    """Raises before anything was written."""
    total = sum(file.size for file in manifest.files.values())
    if total > MOST_BYTES:
        raise DataError(f"it announces {total:,} bytes, {MOST_BYTES:,} are the most")
    if manifest.files.get("run.json", File(size=0, sha256="0" * 64)).size > MOST_RECORD:
        raise DataError(f"its run.json has more than {MOST_RECORD:,} bytes")
    free = shutil.disk_usage(folder).free - runs.LEAST_FREE
    if total > free:
        raise UsageError(f"the archive has {total >> 20} MB, {folder} has room for {free >> 20} MB", "free some space")
    if os.path.lexists(folder / manifest.run):
        hint = "remove that one first, or import into another folder with --runs-dir"
        raise UsageError(f"{folder} has a run {manifest.run} already", hint)


def _extract(stream: GzipFile, manifest: Manifest, folder: Path) -> None:
    for name, file in manifest.files.items():
        header = _take(stream, BLOCK)
        if header != _header(f"{manifest.run}/{name}", file.size):
            expected = f"where {name!r} with {file.size:,} bytes is announced"
            raise DataError(f"contains {_described(header)} {expected}")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if _copy(stream, path, file.size) != file.sha256:
            raise DataError(f"{name!r} does not match the manifest: its hash differs")
        _pass_padding(stream, file.size)
    if any(_take(stream, 2 * BLOCK)) or stream.read(1):
        raise DataError("continues after its last file")


def _copy(stream: GzipFile, path: Path, size: int) -> str:
    """The hash of the next `size` bytes, which are in `path` then."""
    digest = hashlib.sha256()
    with path.open("xb") as target:
        for position in range(0, size, CHUNK):
            chunk = _take(stream, min(CHUNK, size - position))
            digest.update(chunk)
            target.write(chunk)
    return digest.hexdigest()


def _take(stream: GzipFile, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("it ends too early")
    return data


def _pass_padding(stream: GzipFile, size: int) -> None:
    if any(_take(stream, len(_padding(size)))):
        raise DataError("hides bytes between its files")


def _described(header: bytes) -> str:
    """A foreign header in words."""
    try:
        entry = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        return f"something that is not a file ({error})"
    kinds = {"issym": "a link to", "islnk": "a second name of", "isdir": "a folder", "isdev": "a device"}
    kind = next((words for test, words in kinds.items() if getattr(entry, test)()), "")
    return (
        f"{entry.name!r:.200} ({kind} {entry.linkname!r:.200})" if kind else f"{entry.name!r:.200}, {entry.size} bytes"
    )


def _build_repository(part: RunPaths) -> None:
    bundle = part.folder / BUNDLE
    if bundle.exists():
        Bundled.unbundle(bundle, part.repository)
        bundle.unlink()


def _place(part: RunPaths, target: Path) -> RunPaths:
    """Give the run its name. Raises UsageError when somebody else just took it."""
    try:
        part.folder.rename(target)
    except OSError as error:
        raise UsageError(
            f"{target} cannot be made: {error.strerror}", "is a run of this name there already?"
        ) from error
    return RunPaths(target)
