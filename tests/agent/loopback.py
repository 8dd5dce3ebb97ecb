"""A language model server on a loopback port that says and misdoes what a script tells it.

with LoopbackModel([says("hello"), fails(429, headers={"retry-after": "3"})]) as server:
    Endpoint("tiny", server.base_url)
"""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Behaviour:
    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    stall: bool = False
    """Never answer: hold the connection until the server stops."""


@dataclass(frozen=True)
class Received:
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: dict[str, Any]


def says(text: str, finish: str = "stop", tokens: tuple[int, int] | None = (11, 7)) -> Behaviour:
    """A chat completion. `tokens` are the prompt's and the reply's; None: the server does not count."""
    return _completion({"role": "assistant", "content": text}, finish, tokens)


def refuses(reason: str) -> Behaviour:
    return _completion({"role": "assistant", "content": None, "refusal": reason}, "stop", (11, 7))


def fails(status: int, message: str = "scripted", headers: Mapping[str, str] | None = None, **error: Any) -> Behaviour:
    """An error as OpenAI words it; `error` adds members such as param or code."""
    body = {"error": {"message": message, "type": "scripted"} | error}
    return Behaviour(status, json.dumps(body).encode(), headers or {})


def stalls() -> Behaviour:
    return Behaviour(stall=True)


def sends(body: bytes) -> Behaviour:
    """These bytes, labelled as JSON."""
    return Behaviour(body=body)


def _completion(message: dict[str, Any], finish: str, tokens: tuple[int, int] | None) -> Behaviour:
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "tiny-served",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }
    if tokens:
        body["usage"] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    return Behaviour(body=json.dumps(body).encode())


class LoopbackModel:
    """Answers with a script's behaviours in order, or with whatever a function makes of each request."""

    def __init__(self, replies: Iterable[Behaviour | str] | Callable[[Received], Behaviour | str]) -> None:
        self.requests: list[Received] = []
        self._script = replies if callable(replies) else self._from(iter(replies))
        self._stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> "LoopbackModel":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def _from(self, replies: Any) -> Callable[[Received], Behaviour | str]:
        return lambda _: next(replies, fails(418, "the script has no reply left"))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"]))
                request = Received(self.path, {k.lower(): v for k, v in self.headers.items()}, json.loads(raw))
                model.requests.append(request)
                reply = model._script(request)
                behaviour = says(reply) if isinstance(reply, str) else reply
                if behaviour.stall:
                    model._stopped.wait()
                    return
                self.send_response(behaviour.status)
                for name, value in {"content-type": "application/json", **behaviour.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(behaviour.body)))
                self.end_headers()
                self.wfile.write(behaviour.body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        return Handler
