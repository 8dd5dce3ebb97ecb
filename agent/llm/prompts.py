"""What an author is asked: the facts that the prompts in templates/prompts are filled with."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from agent.llm.conversation import Message
from agent.plan.cards import cards
from agent.plan.draft import Draft
from agent.plan.options import Options
from agent.plan.plan import Plan
from agent.plan.settings import declared
from agent.render import render

CNNS = ("resnet", "mobilenetv2")
MOST_PROBLEM = 4000  # characters of what an author is told about a failure


class Feedback(NamedTuple):
    """What became of an earlier attempt."""

    attempt: int
    outcome: str
    dev_score: float | None = None


def plan_prompt(options: Options, draft: Draft) -> list[Message]:
    """Asks for a proposal."""
    tracks = draft.values["tracks"]
    facts = {
        "idea": options.idea,
        "scale": options.scale,
        "methods": _method_facts(),
        "tracks": [_track_facts(name, settings) for name, settings in tracks.items()],
        "fixed_by_user": _fixed(draft, next(iter(tracks))),
    }
    return _messages(render("prompts/plan.md.j2", idea=options.idea, settings=declared(), facts=facts))


def edit_prompt(plan: Plan, attempt: int, source: str, problem: str, history: Sequence[Feedback]) -> list[Message]:
    """Asks for an edit of `source`; `problem` is why the last edit of this attempt could not train, or ""."""
    failed = [Feedback(attempt, f"failed before it could train:\n{_both_ends(problem)}")] if problem else []
    prompt = render(
        "prompts/edit.md.j2",
        idea=plan.idea,
        plan_summary=render("prompts/summary.md.j2", plan=plan, method=plan.tracks[0].method, compiled=_compiled(plan)),
        source=source,
        contract=render("prompts/contract.md.j2"),
        feedback=[*history, *failed],
        facts={"method": plan.tracks[0].method.name, "attempt": attempt},
    )
    return _messages(prompt)


def _messages(prompt: str) -> list[Message]:
    return [Message("system", render("prompts/system.md.j2")), Message("user", prompt)]


def _compiled(plan: Plan) -> bool:
    return any(track.training.compiled for track in plan.tracks)


def _both_ends(text: str) -> str:
    """The first findings and the last lines of a traceback."""
    half = MOST_PROBLEM // 2
    return text if len(text) <= MOST_PROBLEM else f"{text[:half]}\n…\n{text[-half:]}"


def _method_facts() -> dict[str, dict[str, Any]]:
    """The part of each method card that a language model chooses by."""
    parts = ("title", "summary", "good_for", "cautions", "kinds")
    chosen = {name: {key: getattr(card, key) for key in parts} for name, card in cards().items()}
    return {name: known | {"settings": cards()[name].defaults} for name, known in chosen.items()}


def _track_facts(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a language model is told about a track."""
    teacher, student, sizes = settings["teacher"], settings["student"], settings["sizes"]
    architecture = student["architecture"]
    return {
        "name": name,
        "kind": "image" if architecture in CNNS else "language" if architecture == "gpt2" else "text",
        "teacher": _called(teacher),
        "student": _called(student),
        "teacher_layers": teacher["layers"],
        "student_layers": student["layers"],
        "train_rows": sizes["train_rows"] or "all",
        "transfer_rows": sizes["transfer_rows"],
    }


def _called(model: Mapping[str, Any]) -> str:
    return model["checkpoint"] or f"{model['architecture']}, {model['layers']} layers, width {model['width']:g}"


def _fixed(draft: Draft, track: str) -> dict[str, Any]:
    """The user's own values, by the names a proposal uses."""
    start = f"tracks.{track}."
    fixed = {
        path.removeprefix(start): draft.value(path)
        for path, origin in draft.origins.items()
        if origin == "user" and path.startswith(start)
    }
    names = {"method.name": "method"}
    return {
        names.get(path, path.split(".")[-1]): value
        for path, value in fixed.items()
        if path.split(".")[0] in ("training", "method")
    }
