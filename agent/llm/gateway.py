"""The one way to a language model: chat completions from any OpenAI-compatible endpoint, counted and recorded.

author     who answers: an `Endpoint` ("openai"), a record ("recorded") or the embedded `Recipes` ("recipes")
Gateway    budgets and records each exchange, and asks again, a bounded number of times, when a reply is unusable
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit

from agent.errors import AgentError, BudgetError, CredentialsError, ModelError, ReplyError, UsageError
from agent.llm.conversation import Conversation, Message, Reply, Request
from sandbox.printable import printable_lines

if TYPE_CHECKING:
    from openai import APIError


__all__ = ["Author", "Conversation", "Endpoint", "Gateway", "Message", "Reply"]

T = TypeVar("T")

OPENAI = "https://api.openai.com/v1"
KEYS = "KDAGENT_API_KEY or OPENAI_API_KEY"
REPLY_TOKENS = 8192
"""Token limit of one reply, thoughts included."""
TRIES = 4
LONGEST_WAIT = 120.0
"""Seconds; an endpoint that asks for more is given up."""
DOWN = "start the server, or leave out --base-url to use the embedded recipes"


class Author(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def model(self) -> str:
        """The model that is asked; part of every exchange's key."""

    @property
    def metered(self) -> bool:
        """Whether its tokens count against the budget before they are spent."""

    def complete(self, purpose: str, messages: Sequence[Message]) -> Reply:
        """Raises ModelError or CredentialsError when there is no reply."""


class Gateway:
    """A source with a token budget and a record.

    Requests that a conversation already has are answered from it, so a run that is resumed does not pay twice.
    """

    def __init__(self, source: Author, conversation: Conversation, token_budget: int) -> None:
        self.source = source
        self.conversation = conversation
        self.token_budget = token_budget

    @property
    def tokens(self) -> int:
        """Spent so far, earlier processes of the run included."""
        return self.conversation.tokens

    def complete(self, purpose: str, messages: Sequence[Message]) -> Reply:
        """One exchange, on disk before it is used. Raises BudgetError before a request that could overspend."""
        request = self._request(purpose, messages)
        if recorded := self.conversation.take(request):
            return recorded
        self._refuse_overspending(request)
        self.conversation.asks(request)
        try:
            reply = self.source.complete(purpose, messages)
        except AgentError as error:
            self.conversation.failed(request, error.message)
            raise
        self.conversation.answered(request, reply)
        return reply

    def ask(self, purpose: str, messages: Sequence[Message], parse: Callable[[str], T], rounds: int = 3) -> T:
        """The result of `parse` on a reply. A ReplyError goes back to the model, word for word, as its next message.

        Raises ModelError when no round gave a usable reply, and whatever else `parse` raises.
        """
        thread, reason = list(messages), ""
        for _ in range(rounds):
            reply = self.complete(purpose, thread)
            try:
                return parse(_whole(reply))
            except ReplyError as error:
                reason = printable_lines("\n".join(filter(None, [error.message, error.hint])))
                thread += [Message("assistant", reply.text), Message("user", reason)]
        failure = f"{purpose}: no usable reply in {rounds} rounds; finally: {' '.join(reason.split())}"
        self.conversation.spoiled(self._request(purpose, messages), failure)
        raise ModelError(failure, hint=f"the whole exchange is in {self.conversation.folder}")

    def _request(self, purpose: str, messages: Sequence[Message]) -> Request:
        return Request(self.source.name, self.source.model, purpose, tuple(messages))

    def _refuse_overspending(self, request: Request) -> None:
        most = _tokens(*(m.content for m in request.messages)) + REPLY_TOKENS
        left = self.token_budget - self.tokens
        if self.source.metered and most > left:
            raise BudgetError(
                f"token budget: the next request ({request.purpose}) may take {most} tokens, "
                f"{left} of {self.token_budget} are left",
                hint="allow more tokens in a new plan, or leave out the endpoint to use the embedded recipes",
            )


class Endpoint:
    """Chat completions of one model at one OpenAI-compatible server. Nothing it raises or returns contains the key."""

    name = "openai"
    metered = True

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 120.0,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """`timeout` is in seconds. Raises UsageError for a bad address, CredentialsError where a key is needed."""
        if base_url is None and not api_key:
            raise CredentialsError(
                f"{OPENAI} needs a key and none is set",
                hint=f"set {KEYS}, name another server with --base-url, or use the embedded recipes",
            )
        from openai import OpenAI

        self.model = model
        self.base_url = _address(base_url or OPENAI)
        self._timeout = timeout
        self._wait = wait
        self._key = api_key or "unused"
        self._client = OpenAI(base_url=base_url or OPENAI, api_key=self._key, timeout=timeout, max_retries=0)
        # Other servers may know the older name only.
        self._limit = {"max_tokens" if base_url else "max_completion_tokens": REPLY_TOKENS}

    def complete(self, purpose: str, messages: Sequence[Message]) -> Reply:
        completion = self._create([asdict(message) for message in messages])
        try:
            choice = completion.choices[0]
            refused = choice.message.refusal or choice.finish_reason == "content_filter"
            text = self._clean(choice.message.content or choice.message.refusal or "")
        except (AttributeError, IndexError, TypeError):
            raise ModelError(
                f"{self.base_url} answered, but not with a chat completion", hint="is /v1 missing at its end?"
            ) from None
        return Reply(
            text=text,
            model=self._clean(completion.model or self.model),
            finish="refusal" if refused else "length" if choice.finish_reason == "length" else "stop",
            prompt_tokens=_reported(completion, "prompt_tokens") or _tokens(*(m.content for m in messages)),
            completion_tokens=_reported(completion, "completion_tokens") or _tokens(text),
        )

    def _create(self, messages: list[dict[str, str]]) -> Any:
        """One completion, as the client parsed it; tried again where the failure may pass."""
        from openai import APIError

        create: Any = self._client.chat.completions.create
        tries = 0
        while True:
            try:
                return create(model=self.model, messages=messages, **self._limit)
            except APIError as error:
                if self._drop_limit(error):
                    continue
                tries += 1
                pause = _pause(error, tries)
                if pause is None or tries == TRIES:
                    raise self._explained(error, tries) from None
            except ValueError:  # the client passes a body that is not JSON on to its caller
                return None
            self._wait(pause)

    def _drop_limit(self, error: "APIError") -> bool:
        """Leaves out the reply limit from now on, where the server refuses it by name."""
        refused = getattr(error, "status_code", None) in (400, 422)
        named = any(name == error.param or re.search(rf"\b{name}\b", error.message) for name in self._limit)
        if refused and named:
            self._limit = {}
        return refused and named

    def _explained(self, error: "APIError", tries: int) -> AgentError:
        from openai import APIStatusError, APITimeoutError

        after = f" (tried {tries} times)" if tries > 1 else ""
        if isinstance(error, APITimeoutError):
            return ModelError(f"{self.base_url} did not answer within {self._timeout:g} s{after}", hint=DOWN)
        if not isinstance(error, APIStatusError):
            why = self._line(error.__cause__ or error)
            return ModelError(f"{self.base_url} cannot be reached{after}: {why}", hint=DOWN)
        said = f"{self.base_url} answered {error.status_code}{after}: {self._line(error)}"
        if error.status_code in (401, 403):
            return CredentialsError(said, hint=f"set {KEYS} to a key that this endpoint accepts")
        return ModelError(said, hint="check --model and --base-url" if error.status_code == 404 else "")

    def _line(self, error: BaseException) -> str:
        """An error on one line: the server's own words where it sent some."""
        body = getattr(error, "body", None)
        said = body.get("message") if isinstance(body, dict) else None
        return self._clean(" ".join(str(said or error).split()))[:300]

    def _clean(self, text: str) -> str:
        """Text without the key, and without lone surrogates, which no file can hold."""
        text = text.encode("utf-8", "replace").decode()
        # A shorter key is a placeholder such as "EMPTY", and may well be a word of the reply.
        return text.replace(self._key, "[key]") if len(self._key) >= 16 else text


def _address(base_url: str) -> str:
    """The address as it may be shown: without a user name, password or query. Raises UsageError for a bad one."""
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # brackets or a port that is no number
        usable = False
    if not usable:
        raise UsageError("--base-url is not a valid HTTP address", hint="write it as http://127.0.0.1:8000/v1")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _pause(error: "APIError", tries: int) -> float | None:
    """Seconds to wait before the next try; None where trying again cannot help."""
    from openai import APIConnectionError, APIStatusError

    backoff = 2.0 ** (tries - 1)
    if isinstance(error, APIConnectionError):
        return backoff
    if not isinstance(error, APIStatusError) or (error.status_code < 500 and error.status_code not in (408, 409, 429)):
        return None
    try:
        asked = float(error.response.headers.get("retry-after", backoff))
    except ValueError:  # the header may hold a date
        return backoff
    return asked if 0 <= asked <= LONGEST_WAIT else None


def _reported(completion: Any, name: str) -> int:
    """Tokens as the server counted them; 0 where it did not."""
    count = getattr(getattr(completion, "usage", None), name, None)
    return max(count, 0) if isinstance(count, int) else 0


def _tokens(*texts: str) -> int:
    """At most this many tokens: one for three bytes, and a few around each message."""
    return sum(len(text.encode("utf-8", "replace")) // 3 + 8 for text in texts)


def _whole(reply: Reply) -> str:
    """The text of a complete reply. Raises ReplyError for a refusal and for a reply cut off."""
    if reply.finish == "refusal":
        raise ReplyError(f"the request was refused: {reply.text[:300]}", hint="answer in the requested format")
    if reply.finish == "length":
        raise ReplyError("the reply was cut off at its length limit", hint="answer again, shorter, from the beginning")
    return reply.text
