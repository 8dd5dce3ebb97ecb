"""Archives as nobody honest makes them: the bytes of one, changed in one way."""

import gzip
import hashlib
import io
import json
import struct
import tarfile
import zlib
from dataclasses import dataclass, field
from typing import Any

RUN = "20260101-000000-kd-aaaa"
RECORD = {"schema": 1, "id": RUN, "created": "2026-01-01T00:00:00+00:00", "status": "planned", "parent": "", "tags": []}
OPTIONS = {"idea": "kd", "tasks": ["digits"], "values": {}}


def record(**values: Any) -> bytes:
    return json.dumps(RECORD | {"options": OPTIONS} | values).encode()


@dataclass
class Entry:
    name: str
    data: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    mode: int = 0o644
    pax: dict[str, str] = field(default_factory=dict)

    @property
    def bytes(self) -> bytes:
        info = tarfile.TarInfo(self.name)
        info.size, info.type, info.linkname, info.mode = len(self.data), self.kind, self.link, self.mode
        info.pax_headers = self.pax
        header = info.tobuf(tarfile.PAX_FORMAT if self.pax else tarfile.USTAR_FORMAT)
        return header + self.data + bytes(-len(self.data) % 512)


def manifest(content: dict[str, bytes], **values: Any) -> Entry:
    described = {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in content.items()
    }
    said = {"schema": 1, "run": RUN, "version": "0", "revisions": {}, "files": described} | values
    return Entry(f"{RUN}/manifest.json", json.dumps(said).encode())


def archive(*entries: Entry, end: bytes = bytes(1024)) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", 9, buffer, mtime=0) as stream:
        stream.writelines([*(entry.bytes for entry in entries), end])
    return buffer.getvalue()


def honest(files: dict[str, bytes]) -> bytes:
    """An archive of these files, as `export` writes one."""
    return archive(manifest(files), *(Entry(f"{RUN}/{name}", data) for name, data in files.items()))


def announced(*entries: Entry, **files: bytes) -> bytes:
    """A manifest of run.json and `files`, and these entries in their place."""
    return archive(manifest({"run.json": record()} | files), *entries)


# ── bundles ─────────────────────────────────────────────────────────────────────────────────────────────────────────

EPOCH = "kdagent <kdagent@localhost> 946684800 +0000"


def objects(source: bytes = b"x = 1\n", name: str = "train.py", mode: str = "100644") -> list[tuple[int, bytes]]:
    """Blob, tree and commit of one file."""
    tree = f"{mode} {name}\0".encode() + _id("blob", source)
    text = f"tree {_id('tree', tree).hex()}\nauthor {EPOCH}\ncommitter {EPOCH}\n\nm\n".encode()
    return [(3, source), (2, tree), (1, text)]


def _id(kind: str, content: bytes) -> bytes:
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content).digest()


def packed(kind: int, content: bytes, size: int | None = None) -> bytes:
    """One object of a pack, as long as it says or not."""
    left = len(content) if size is None else size
    head, left = [kind << 4 | left & 15], left >> 4
    while left:
        head[-1] |= 128
        head.append(left & 127)
        left >>= 7
    return bytes(head) + zlib.compress(content)


def bundle(
    parts: list[tuple[int, bytes]] | None = None, ref: str = "refs/heads/start", raw: bytes = b"", count: int = -1
) -> bytes:
    """A git bundle of these objects; the last one is the commit that `ref` names."""
    found = objects() if parts is None else parts
    body = b"".join(packed(*part) for part in found) + raw
    pack = struct.pack(">4sII", b"PACK", 2, len(found) + bool(raw) if count < 0 else count) + body
    commit = _id("commit", found[-1][1]).hex()
    return f"# v2 git bundle\n{commit} {ref}\n\n".encode() + pack + hashlib.sha1(pack).digest()
