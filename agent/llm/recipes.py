"""The embedded source: no network and no key. It chooses a method for an idea from the library's cards.

It speaks the text protocol of a language model and passes the same parsers, but it is not one, and a report made with
it states that. An idea that the library has no method for is refused.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.errors import ModelError
from agent.llm.conversation import Message, Reply
from agent.llm.edits import NO_FURTHER_EDIT
from agent.llm.reply import REFUSED, code_blocks, problems
from agent.plan.arms import VANILLA
from agent.plan.cards import Card, cards
from agent.plan.draft import OURS
from agent.plan.proposal import Proposal
from agent.plan.settings import declared
from agent.render import TEMPLATES, fence

LAST_LAYERS = 3
TOPIC = re.compile(
    r"distil(?!.{0,40}(?:whisk|wine|alcohol|ethanol|water|\boils?\b))|\bkd\b|fine-?tun|\b(?:bert|distilbert|resnet|mobilenet)"
    r"|(?:small|compact|tiny|light|compress|shrink)\w*\b.{0,20}\b(?:model|network|classifier|transformer|cnn)"
    r"|\b(?:teacher|student)\b.{0,60}\b(?:model|network|classifier|layer|label|embedding)"
    r"|\b(?:students|peers) that (?:learn|teach)\b|\btrain\w* (?:the|a) student\b"
    r"|\b(?:the|a|small|compact|tiny|convolutional) student(?:'s|s)?\b.{0,80}\bteacher"
    r"|\bteacher\b.{0,80}\b(?:the|a|small|compact|tiny|convolutional) student\b"
    r"|\blayers\b.{0,60}\b(?:teacher|student)|\blast[ -]\w+[ -]layer"
    r"|\b(?:texts?|corpus)\b.{0,60}\blarge\b.{0,40}\b(?:small|tiny)",
    re.IGNORECASE,
)
"""Words that name the field but not a method: those for a method are on its card."""
BEYOND = (
    "reinforcement learning",
    "object detection",
    "segmentation",
    "speech",
    "machine translation",
    "text generation",
    "summarisation",
    "summarization",
    "diffusion",
    "image generation",
    "regression",
    "pruning",
    "quantisation",
    "quantization",
    "quantise",
    "quantize",
    "data-free",
    "federated",
)
RULED_OUT = re.compile(r"\b(?:no|not|without|never|instead of|rather than)\s+(?:\w+[ -]+){0,2}$", re.IGNORECASE)

COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
SIGNS = {
    "NUMBER": r"(\d+(?:\.\d+)?(?:e-?\d+)?|\.\d+)",
    "COUNT": rf"(\d+|{'|'.join(COUNTS)})",
    "IS ": r"\s*(?:=|:|of|is)?\s*",
}
"""Placeholders for a value in the words of a setting."""
TRAINING = {
    "learning_rate": (r"\b(?:lr|learning[ -]rate)IS NUMBER",),
    "batch_size": (r"\bbatch(?:[ -]size)?IS NUMBER",),
    "epochs": (r"NUMBER[ -]*epochs?\b", r"\bepochsIS NUMBER"),
}
"""The words of an idea for how a student is trained; those for a setting of a method stand where it is declared."""


class Recipes:
    """A source that answers "plan" and "edit" from the method cards and the finished train.py files."""

    name = "recipes"
    model = "recipes"
    metered = False

    def __init__(self, folder: Path = TEMPLATES / "train") -> None:
        self._folder = folder

    def complete(self, purpose: str, messages: Sequence[Message]) -> Reply:
        """Raises ModelError where its one answer was not accepted: asked again, it would answer the same."""
        prompt = messages[-1].content
        blocks = code_blocks(prompt)
        if not blocks or blocks[-1].info != "json":
            raise ModelError(f"the embedded recipes' only answer to {purpose!r} was not accepted: {prompt}")
        facts = json.loads(blocks[-1].body)
        text = _plan(blocks[0].body.strip(), facts) if purpose == "plan" else self._edit(facts, prompt)
        return Reply(text=text, model=self.model, finish="stop", prompt_tokens=0, completion_tokens=0)

    def _edit(self, facts: dict[str, Any], prompt: str) -> str:
        """The method's finished train.py: once, and only where it is not there already."""
        source = (self._folder / cards()[facts["method"]].file).read_text(encoding="utf-8")
        if facts["attempt"] > 1 or source.strip() in prompt:
            return NO_FURTHER_EDIT
        return f"The library's finished train.py for {facts['method']}, whole.\n\n{fence(source, 'python')}\n"


def _plan(idea: str, facts: dict[str, Any]) -> str:
    fixed = facts["fixed_by_user"]
    if not fixed.get("method") and (why := _refusal(idea)):
        return f"{REFUSED} {why}"
    settings = _settings(idea)
    method = fixed.get("method") or _method(idea, settings, {track["kind"] for track in facts["tracks"]})
    card = cards()[method]
    if card.pairs == "mapped":
        usual = {name: card.defaults[name] for name in ("layer_map", "signal") if name in card.defaults}
        settings = {"layers": _default_layers(facts["tracks"])} | usual | settings
    known = {name: value for name, value in settings.items() if name in (*card.defaults, *TRAINING)}
    fixed = {name: value for name, value in fixed.items() if name in Proposal.model_fields}
    try:
        proposal = Proposal.model_validate({**card.proposal} | {"method": method} | known | fixed)
    except ValidationError as error:
        return f"{REFUSED} the idea asks for a value that cannot be used:\n{problems(error)}"
    body = json.dumps(proposal.model_dump(exclude_none=True), indent=2, ensure_ascii=False)
    return f"{card.summary}\n\n{fence(body, 'json')}\n"


def _refusal(idea: str) -> str:
    """Why the recipes cannot serve an idea; empty where they can."""
    can = "the embedded recipes fine-tune and distil classifiers"
    if beyond := [word for word in BEYOND if _said(idea, re.escape(word))]:
        return f"{can}; {beyond[0]} is beyond them: leave it out, or connect a language model with --base-url"
    named = TOPIC.search(idea) or any(_is_about(idea, card) for card in cards().values())
    return "" if named else f"{can}; this idea names neither distillation nor a teacher and its student"


def _is_about(idea: str, card: Card) -> bool:
    """Whether an idea names the method as nothing else is named. A word that everyday language has too must stand
    beside a teacher, or alone."""
    terms = [word for word in card.good_for if word not in card.everyday]
    beside = re.search(r"\bteacher", idea, re.IGNORECASE) and _names(idea, card.everyday)
    return bool(_names(idea, terms) or beside or idea.strip().lower() in card.everyday)


def _method(idea: str, settings: dict[str, Any], kinds: set[str]) -> str:
    """The first method that the idea names, of those for such tasks where it names several, and what is composed of
    methods before those; layer distillation of the last layers where it names none."""
    named = [name for name in cards() if _is_named(idea, settings, name)]
    named = [name for name, card in cards().items() if card.parts and {*card.parts} <= {*named}] + named
    fitting = [name for name in named if kinds <= {*cards()[name].kinds}]
    return next(iter([*fitting, *named]), OURS if kinds <= {*cards()[OURS].kinds} else VANILLA)


def _is_named(idea: str, settings: dict[str, Any], method: str) -> bool:
    card = cards()[method]
    return bool(set(card.decided_by) & settings.keys()) or _names(idea, card.good_for)


def _names(idea: str, words: Sequence[str]) -> bool:
    return any(_said(idea, rf"\b{re.escape(word)}s?\b") for word in words)


def _settings(idea: str) -> dict[str, Any]:
    """Values that the idea states literally. They stay text: the proposal's own checks read them."""
    words = {name: setting.patterns for name, setting in declared().items()} | TRAINING
    said = {name: value for name, patterns in words.items() if (value := _value(idea, patterns)) is not None}
    implied: dict[str, Any] = {}
    for name, value in said.items():
        implied |= declared()[name].implies.get(str(value), {}) if name in declared() else {}
    return implied | said


def _value(idea: str, patterns: Mapping[str, str] | tuple[str, ...]) -> str | int | None:
    """The value that one of the patterns finds: its own, or what stands in place of NUMBER or COUNT."""
    if isinstance(patterns, Mapping):
        return next((choice for choice, pattern in patterns.items() if _said(idea, _signed(pattern))), None)
    at = _said(idea, "|".join(map(_signed, patterns))) if patterns else None
    if not at:
        return None
    found = next(filter(None, at.groups()))
    return COUNTS.index(found.lower()) + 1 if found.lower() in COUNTS else found


@cache
def _signed(pattern: str) -> str:
    for sign, meant in SIGNS.items():
        pattern = pattern.replace(sign, meant)
    return pattern


def _default_layers(tracks: Sequence[dict[str, Any]]) -> int:
    depths = [int(track[side]) for track in tracks for side in ("teacher_layers", "student_layers")]
    return min([LAST_LAYERS, *depths])


def _said(idea: str, pattern: str) -> re.Match[str] | None:
    """Where an idea first names something without ruling it out ("no hidden states")."""
    found = re.finditer(pattern, idea, re.IGNORECASE)
    return next((at for at in found if not RULED_OUT.search(idea[: at.start()])), None)
