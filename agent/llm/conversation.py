"""The conversation with the language model on disk: every request and reply, found again by content.

    blobs/<sha256>.json    request and reply bodies, canonical JSON, each named by its own hash
    exchanges.jsonl        one line per exchange, in order, failed ones too

Neither contains a time, a path or a key, so the same conversation is the same bytes on every machine.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import ConfigDict, Field, ValidationError

from agent.errors import DriftError, ModelError
from agent.frozen import Record


@dataclass(frozen=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Reply:
    text: str
    model: str
    """The model that answered, as the endpoint names it."""
    finish: Literal["stop", "length", "refusal"]
    prompt_tokens: int
    completion_tokens: int

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Request:
    source: str
    """Who is asked; not part of the key."""
    model: str
    purpose: str
    messages: tuple[Message, ...]

    @property
    def body(self) -> dict[str, object]:
        messages = [asdict(message) for message in self.messages]
        return {"v": 1, "model": self.model, "purpose": self.purpose, "messages": messages}

    @property
    def key(self) -> str:
        return _digest(_canonical(self.body))


class Exchange(Record):
    """One line of exchanges.jsonl."""

    model_config = ConfigDict(populate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    seq: int
    purpose: str
    occurrence: int
    """How often this very request was made before."""
    key: str
    """SHA-256 of version, model, purpose and messages."""
    request: str
    reply: str | None
    """The blobs of the two bodies; a failed exchange has no reply."""
    error: str | None
    """Why this occurrence failed, or why its reply led nowhere: that reply is not used again."""
    model: str
    """The model that was asked."""
    tokens: int
    source: str


class Conversation:
    """Append-only. Every body and every line is on disk (fsync) before the call that wrote it returns."""

    def __init__(self, folder: Path) -> None:
        """Raises ModelError when the folder has a record that cannot be read."""
        self.folder = folder
        self._path = folder / "exchanges.jsonl"
        self.exchanges, self._end = _read(self._path)
        self._taken: Counter[tuple[str, tuple[Message, ...]]] = Counter()

    @property
    def tokens(self) -> int:
        return sum(exchange.tokens for exchange in self.exchanges)

    def same(self, request: Request) -> list[Exchange]:
        """The exchanges that made this very request, whichever model was asked."""
        return [e for e in self.exchanges if e.key == replace(request, model=e.model).key]

    def take(self, request: Request) -> Reply | None:
        """The next usable reply on record that this object has not given yet."""
        usable, taken = self._usable(request), self._taken[request.purpose, request.messages]
        if taken == len(usable):
            return None
        self._taken[request.purpose, request.messages] += 1
        return Reply(**self.body(usable[taken].reply or ""))

    def asks(self, request: Request) -> None:
        self._store(request.body)

    def answered(self, request: Request, reply: Reply) -> None:
        self._taken[request.purpose, request.messages] += 1
        self._append(self._exchange(request, reply=self._store(asdict(reply)), tokens=reply.tokens))

    def failed(self, request: Request, error: str) -> None:
        self._append(self._exchange(request, error=error))

    def spoiled(self, request: Request, error: str) -> None:
        """The reply given last to this request led nowhere: a resumed run asks again, a replay passes it over."""
        self._taken[request.purpose, request.messages] -= 1
        given = self._usable(request)[self._taken[request.purpose, request.messages]]
        spoilt = {"seq": len(self.exchanges), "reply": None, "error": error, "tokens": 0}
        self._append(given.model_copy(update=spoilt))

    def body(self, digest: str) -> dict[str, Any]:  # any: a request or a reply, as it was stored
        """A stored body. Raises ModelError when it is missing or does not match its name."""
        path = self.folder / "blobs" / f"{digest}.json"
        data = path.read_bytes() if path.exists() else b""
        if _digest(data) != digest:
            raise ModelError(f"{path} is {'altered' if data else 'missing'}", hint="restore the run's folder")
        body: dict[str, Any] = json.loads(data)
        return body

    def usable(self, purpose: str) -> list[Exchange]:
        """The exchanges of that purpose whose replies led somewhere."""
        return _led_somewhere([e for e in self.exchanges if e.purpose == purpose])

    def _usable(self, request: Request) -> list[Exchange]:
        return _led_somewhere(self.same(request))

    def _exchange(
        self, request: Request, reply: str | None = None, error: str | None = None, tokens: int = 0
    ) -> Exchange:
        key = request.key
        occurrence = len({e.occurrence for e in self.exchanges if e.key == key})
        return Exchange(
            seq=len(self.exchanges),
            purpose=request.purpose,
            occurrence=occurrence,
            key=key,
            request=key,
            reply=reply,
            error=error,
            model=request.model,
            tokens=tokens,
            source=request.source,
        )

    def _append(self, exchange: Exchange) -> None:
        line = _canonical(exchange.model_dump(mode="json", by_alias=True)) + b"\n"
        with self._path.open("ab") as file:
            file.truncate(self._end)  # a line that a crash cut off
            _sync(file, line)
        self._end += len(line)
        self.exchanges.append(exchange)

    def _store(self, body: Mapping[str, object]) -> str:
        data = _canonical(body)
        digest = _digest(data)
        path = self.folder / "blobs" / f"{digest}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            with part.open("wb") as file:
                _sync(file, data)
            part.replace(path)
        return digest


class Recorded:
    """The source of a replay: answers from a record, never live and never nearly.

    Where kdagent has changed since, its prompts may be worded differently: then a request that is not on record gets
    the reply at its place. What follows from it is compared all the same: plan, commits and decisions.
    """

    name = "recorded"

    def __init__(self, folder: Path, by_place: bool = False) -> None:
        """`by_place`: the run was recorded by a kdagent that is not this one."""
        self._record = Conversation(folder)
        self._by_place = by_place
        self._asked: Counter[str] = Counter()
        self._given: Counter[str] = Counter()
        self.model = next((e.model for e in self._record.exchanges), "")
        self.metered = any(e.source == "openai" for e in self._record.exchanges)

    def complete(self, purpose: str, messages: Sequence[Message]) -> Reply:
        """Raises ModelError where the recorded exchange failed, DriftError where there is none for this request."""
        request = Request(self.name, self.model, purpose, tuple(messages))
        occurrence, self._asked[purpose] = self._asked[purpose], self._asked[purpose] + 1
        if reply := self._record.take(request):
            self._given[purpose] += 1
            return reply
        for exchange in reversed(self._record.same(request)):
            if exchange.error:
                raise ModelError(exchange.error)
        placed = self._record.usable(purpose) if self._by_place else []
        if (place := self._given[purpose]) < len(placed):
            self._given[purpose] += 1
            return Reply(**self._record.body(placed[place].reply or ""))
        raise DriftError(
            f"the record has no reply to {purpose} request {occurrence + 1}: {self._difference(request, occurrence)}",
            hint="the prompts, the model or the code under edit are not those of the recorded run",
        )

    def _difference(self, request: Request, occurrence: int) -> str:
        """The first message that differs from the request recorded at this place."""
        recorded = [e for e in self._record.exchanges if e.purpose == request.purpose and e.reply]
        if occurrence >= len(recorded):
            return f"it has {len(recorded)}"
        theirs = self._record.body(recorded[occurrence].request)["messages"]
        ours = [asdict(message) for message in request.messages]
        for number, (old, new) in enumerate(zip(theirs, ours, strict=False), start=1):
            if old != new:
                return f"message {number} ({new['role']}) differs: {_first_difference(old['content'], new['content'])}"
        return f"it was recorded with {len(theirs)} messages, not {len(request.messages)}"


def _led_somewhere(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """Those that have a reply which was not spoiled later."""
    spoiled = {(e.key, e.occurrence) for e in exchanges if e.error}
    return [e for e in exchanges if e.reply and (e.key, e.occurrence) not in spoiled]


def _first_difference(old: str, new: str) -> str:
    for number, (was, now) in enumerate(zip(old.split("\n"), new.split("\n"), strict=False), start=1):
        if was != now:
            return f"line {number} was {was[:80]!r}, is {now[:80]!r}"
    return "one of the two is longer"


def _read(path: Path) -> tuple[list[Exchange], int]:
    """The exchanges of a file and the length of its whole lines in bytes; one that a crash cut off does not count."""
    data = path.read_bytes() if path.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    try:
        return [Exchange.model_validate_json(line) for line in whole.splitlines()], len(whole)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ModelError(f"{path} cannot be read: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None


def _canonical(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sync(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
