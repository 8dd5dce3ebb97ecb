"""Random changes of one character in the record of a run, each made, verified and taken back."""

import random
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.recheck.verify import Derived, verify
from agent.record.paths import RunPaths

KINDS = {
    "report.md": ("report.md",),
    "results.json": ("results.json",),
    "events.jsonl": ("events.jsonl",),
    "run.json": ("run.json",),
    "idea.md, plan.json": ("idea.md", "plan.json"),
    "facts.json": ("facts.json",),
    "labels": ("labels/**/*.safetensors",),
    "trials: reports": ("trials/**/*.json",),
    "trials: traces": ("trials/**/*.jsonl",),
    "trials: predictions": ("trials/**/dev.safetensors", "trials/**/test.safetensors"),
    "trials: weights": ("trials/**/weights.safetensors",),
    "conversation": ("conversation/**/*.json*",),
    "repository: objects": ("repository/objects/**/*",),
    "repository: the rest": ("repository/refs/**/*", "repository/HEAD", "repository/config"),
    "jobs, logs and reviews": ("jobs/**/*.*", "logs/*.log", "review.json", "requirements.txt"),
}
"""Kind of file → where its files are."""
ALPHABETS = (string.digits, string.ascii_lowercase, string.ascii_uppercase, string.punctuation)


@dataclass(frozen=True)
class Mutation:
    file: str
    position: int
    """In bytes, from 0."""
    byte: int
    line: int
    """From 1; 0 in a file that is no text."""


@dataclass(frozen=True)
class Tried:
    mutation: Mutation
    found: bool
    """Whether verify named the file."""
    placed: bool
    """Whether the first finding about it names the line."""
    said: str


def mutations(paths: RunPaths, kind: str, dice: random.Random) -> Iterator[Mutation]:
    """Changes without end, spread over the files of a kind."""
    found = sorted({path for pattern in KINDS[kind] for path in paths.folder.glob(pattern)})
    files = [path for path in found if path.is_file() and path.stat().st_size]
    while True:
        yield mutation(paths, dice.choice(files), dice)


def mutation(paths: RunPaths, path: Path, dice: random.Random) -> Mutation:
    """A digit becomes another digit, a letter another letter, a sign another sign; in a binary file, a byte another."""
    data, name = path.read_bytes(), str(path.relative_to(paths.folder))
    if path.suffix == ".safetensors" or "/objects/" in name:
        position = dice.randrange(len(data))
        return Mutation(name, position, dice.choice([b for b in range(256) if b != data[position]]), 0)
    position = dice.choice([at for at, byte in enumerate(data) if 32 < byte < 127])
    alphabet = next(each for each in ALPHABETS if chr(data[position]) in each)
    other = dice.choice([sign for sign in alphabet if ord(sign) != data[position]])
    return Mutation(name, position, ord(other), data.count(b"\n", 0, position) + 1)


def tried(paths: RunPaths, change: Mutation, known: dict[str, Derived]) -> Tried:
    """What verify says of the change, which is taken back."""
    path = paths.folder / change.file
    data = path.read_bytes()
    path.write_bytes(data[: change.position] + bytes([change.byte]) + data[change.position + 1 :])
    try:
        findings = verify(paths, known).findings
    finally:
        path.write_bytes(data)
    about = [finding for finding in findings if finding.file == change.file]
    placed = bool(about) and about[0].line == change.line
    return Tried(change, bool(about), placed, str(about[0]) if about else f"{len(findings)} other findings")


def sample(paths: RunPaths, count: int, seed: int = 0) -> dict[str, list[Tried]]:
    """So many changes, as many of each kind; a run has no file of some kinds."""
    dice, known = random.Random(seed), dict[str, Derived]()
    assert not verify(paths, known).findings
    share = -(-count // len(KINDS))
    return {
        kind: [
            tried(paths, change, known) for _, change in zip(range(share), mutations(paths, kind, dice), strict=False)
        ]
        for kind in KINDS
    }
