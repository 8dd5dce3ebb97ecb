"""The prompts to a language model. Their words are in templates/prompts, the facts in them come from here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.llm.conversation import Message
from agent.plan.cards import Card, cards
from agent.plan.defaults import kind_of_track
from agent.plan.draft import Draft
from agent.plan.options import Options
from agent.plan.plan import Plan
from agent.plan.settings import declared, shared
from agent.render import render

CHOSEN_BY = ("title", "summary", "good_for", "cautions", "kinds")
"""The part of a method's card that a language model chooses by."""


@dataclass(frozen=True)
class Tried:
    """An earlier attempt, as the author of the next one reads about it."""

    attempt: int
    outcome: str
    dev_score: float | None


def plan_prompt(draft: Draft, options: Options) -> list[Message]:
    """Asks for a proposal, given what the user has fixed already."""
    tracks = draft.values["tracks"]
    facts = {
        "scale": options.scale,
        "methods": {name: _method(card) for name, card in cards().items()},
        "tracks": [_track(name, kind_of_track(options, name), settings) for name, settings in tracks.items()],
        "fixed_by_user": _fixed(draft),
    }
    return _asked(plan_text(options.idea, facts))


def plan_text(idea: str, facts: Mapping[str, Any]) -> str:
    return render("prompts/plan.md.j2", idea=idea, settings=declared(), facts=facts)


def edit_prompt(plan: Plan, source: str, attempt: int, tried: Sequence[Tried], problem: str = "") -> list[Message]:
    """Asks for an edit of `source`; `problem` is why the last one of this attempt could not train: a traceback, or
    findings, which quote the edit."""
    text = render(
        "prompts/edit.md.j2",
        plan=plan,
        prose=f"{plan.title}\n\nObjective: {plan.objective}\nHypothesis: {plan.hypothesis}",
        method=plan.tracks[0].method,
        compiled=any(track.training.compiled for track in plan.tracks),
        stated=tuple(shared()),
        offers={call: does for card in cards().values() for call, does in card.offers.items()},
        source=source,
        tried=tried,
        problem=_both_ends(problem),
        facts={"method": plan.tracks[0].method.name, "attempt": attempt},
    )
    return _asked(text)


def _asked(text: str) -> list[Message]:
    return [Message("system", render("prompts/system.md.j2")), Message("user", text)]


def _method(card: Card) -> dict[str, Any]:
    """The facts about a method for a language model."""
    return {key: getattr(card, key) for key in CHOSEN_BY} | {"settings": card.defaults}


def _track(name: str, kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The facts about a track for a language model."""
    teacher, student, sizes = settings["teacher"], settings["student"], settings["sizes"]
    return {
        "name": name,
        "kind": kind,
        "teacher": _called(teacher),
        "student": _called(student),
        "teacher_layers": teacher["layers"],
        "student_layers": student["layers"],
        "train_rows": sizes["train_rows"] or "all",
        "transfer_rows": sizes["transfer_rows"],
    }


def _called(model: dict[str, Any]) -> str:
    return model["checkpoint"] or f"{model['architecture']}, {model['layers']} layers, width {model['width']:g}"


def _fixed(draft: Draft) -> dict[str, Any]:
    """The user's own values, by the names a proposal uses: a proposal is for all tracks, and so are these. A value for
    one track alone stays the user's there, and is nobody's proposal for the others."""
    first, *others = [_own(draft, track) for track in draft.values["tracks"]]
    shared = {path: value for path, value in first.items() if all(own.get(path) == value for own in others)}
    named = first.get("method.name")
    return ({"method": named} if named else {}) | {
        path.split(".")[-1]: value for path, value in shared.items() if path != "method.name"
    }


def _own(draft: Draft, track: str) -> dict[str, Any]:
    """The values of a track's training and method that the user fixed."""
    start = f"tracks.{track}."
    own = [path for path, origin in draft.origins.items() if origin == "user" and path.startswith(start)]
    fixed = {path.removeprefix(start): draft.value(path) for path in own}
    return {path: value for path, value in fixed.items() if path.split(".")[0] in ("training", "method")}


def _both_ends(text: str, most: int = 4000) -> str:
    """The first findings and the last lines of a traceback."""
    return text if len(text) <= most else f"{text[: most // 2]}\n…\n{text[-most // 2 :]}"
