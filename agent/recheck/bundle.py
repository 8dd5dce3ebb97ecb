"""A bundle: the repository of a run in one file, read without trusting it.

git packs it. Reading is done here: a pack of whole commits, trees and blobs, each within a limit, becomes objects
named by their own content; git sees only those, and looks over all of them before the repository counts.
"""

import hashlib
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from agent.errors import DataError
from sandbox.workspace import Workspace

KINDS = {1: "commit", 2: "tree", 3: "blob"}
MOST_BUNDLE = 64 << 20
MOST_OBJECTS = 10_000
MOST_OBJECT = 4 << 20
MOST_CONTENT = 256 << 20
SLACK = 1024
"""Bytes by which a compressed object may exceed twice its size."""
SIGNATURE = b"# v2 git bundle"
WHOLE = ("--window=0", "--no-reuse-delta", "--no-reuse-object", "--no-use-bitmap-index", "--threads=1")
"""Nothing is stored as a difference, and nothing depends on the number of cores."""


class Bundled(Workspace):
    def bundle(self, target: Path) -> None:
        """Writes every commit and branch to `target`."""
        branches = self._run("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads")
        pack = self._run("pack-objects", "--revs", "--all", "--stdout", "--quiet", *WHOLE)
        target.write_bytes(SIGNATURE + b"\n" + branches + b"\n" + pack)

    @classmethod
    def unbundle(cls, source: Path, folder: Path) -> "Bundled":
        """A new repository in `folder`. Raises DataError for anything but a bundle that `bundle` wrote."""
        if source.stat().st_size > MOST_BUNDLE:
            raise DataError(f"{source.name} has more than {MOST_BUNDLE:,} bytes")
        head, _, pack = source.read_bytes().partition(b"\n\n")
        branches = _branches(head)
        made = cls.create(folder)
        assert isinstance(made, cls)
        for kind, content in _objects(pack):
            made._store(kind, content)
        for branch, commit in branches.items():
            made._run("update-ref", f"refs/heads/{branch}", commit)
            made.read(commit)
        made._run("fsck", "--strict", "--full")
        return made

    def _store(self, kind: str, content: bytes) -> None:
        """A loose object under the hash of its content."""
        data = b"%s %d\0%s" % (kind.encode(), len(content), content)
        name = hashlib.sha1(data).hexdigest()
        path = self.folder / "objects" / name[:2] / name[2:]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(zlib.compress(data))


def _branches(head: bytes) -> dict[str, str]:
    """Branch → commit. A bundle that needs commits from elsewhere, or brings other refs, is refused."""
    first, *lines = head.split(b"\n")
    found = [re.fullmatch(rb"([0-9a-f]{40}) refs/heads/([A-Za-z0-9_][A-Za-z0-9_-]{0,63})", line) for line in lines]
    if first != SIGNATURE or not all(found):
        raise DataError("its repository.bundle does not begin like a complete git bundle")
    return {match[2].decode(): match[1].decode() for match in found if match}


def _objects(pack: bytes) -> Iterator[tuple[str, bytes]]:
    """Kind and content of every object of a pack."""
    if hashlib.sha1(pack[:-20]).digest() != pack[-20:] or len(pack) < 32:
        raise DataError("the pack in its repository.bundle is damaged")
    magic, version, count = struct.unpack(">4sII", pack[:12])
    if magic != b"PACK" or version != 2 or count > MOST_OBJECTS:
        raise DataError(f"its repository.bundle has {magic!r}, version {version}, {count:,} objects")
    view, position, total = memoryview(pack)[:-20], 12, 0
    for _ in range(count):
        kind, size, position = _object_header(view, position)
        total += size
        if total > MOST_CONTENT:
            raise DataError(f"the objects in its repository.bundle have more than {MOST_CONTENT:,} bytes")
        inflate = zlib.decompressobj()
        content = inflate.decompress(view[position : position + 2 * size + SLACK], size + 1)
        if len(content) != size or not inflate.eof:
            raise DataError("an object in its repository.bundle is not as long as its header states")
        position += min(2 * size + SLACK, len(view) - position) - len(inflate.unused_data)
        yield kind, content
    if position != len(view):
        raise DataError("its repository.bundle continues after its last object")


def _object_header(view: memoryview, position: int) -> tuple[str, int, int]:
    """Kind, size and where the content begins."""
    byte, shift = view[position], 4
    kind, size = byte >> 4 & 7, byte & 15
    while byte & 128 and shift < 32:
        position += 1
        byte = view[position]
        size |= (byte & 127) << shift
        shift += 7
    if kind not in KINDS or size > MOST_OBJECT:
        raise DataError(f"its repository.bundle has an object of kind {kind} with {size:,} bytes")
    return KINDS[kind], size, position + 1
