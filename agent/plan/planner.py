"""From an idea to a plan: defaults of the scale, then the model's proposal, then the user's own values, which win.

Every field remembers which of the three it came from. Nothing is frozen before the data were looked at: rows, labels
and the content hash in a plan are those of the prepared data, not of a wish.
"""

from typing import Any

from agent import config
from agent.errors import PlanError
from agent.plan.cards import NOUNS, Kind, cards
from agent.plan.compiling import LONG
from agent.plan.defaults import preset_of, scale_card, tracks
from agent.plan.draft import FROM_CHECKPOINT, TRACK_PARTS, Draft, full_path, put_everywhere
from agent.plan.families import Family, families
from agent.plan.freeze import freeze
from agent.plan.method import Method
from agent.plan.options import Options
from agent.plan.plan import Budget, Plan, Track
from agent.plan.proposal import Proposal
from agent.plan.settings import declared
from agent.record.pace import Pace


def draft(options: Options) -> Draft:
    """The scale's defaults with the user's values on top, before any model was asked.

    Raises PlanError or UsageError for the user's mistakes, before anything is spent on them.
    """
    scale = scale_card(options)
    values: dict[str, Any] = {
        "tracks": {name: preset_of(options, scale, name) for name in tracks(options)},
        "seeds": scale["seeds"],
        **{name: Plan.usual()[name] for name in ("attempts", "primary_metric", "least_effect", "level")},
        "budget": {name: scale[name] for name in Budget.model_fields if name in scale} | {"tokens": Budget().tokens},
        "benchmark": "",
    }
    made = Draft(values, {})
    for path, value in options.values.items():
        put_everywhere(made, path, value, "user")
    _provide(made)
    if options.bf16:
        _cast(made)
    _settle(made, freeze(made, options, _SILENT, {}))  # wrong values are refused here, before any work
    _enough(made)
    return made


def _provide(made: Draft) -> None:
    """Defaults that follow from a choice: generated rows for a method that is about them, a generator as its checkpoint
    is, no heads in a student that is recurrent."""
    for name, settings in made.values["tracks"].items():
        method, start = settings["method"]["name"], f"tracks.{name}"
        if made.origins.get(f"{start}.sizes.generated_rows") != "user":
            settings["sizes"]["generated_rows"] = cards()[method].generated if method in cards() else 0
        if settings["generator"]["checkpoint"]:
            own = {n: v for n, v in FROM_CHECKPOINT.items() if f"{start}.generator.{n}" not in made.origins}
            settings["generator"] |= own
        row = _row(settings["student"])
        if row and row.layers == "recurrent" and f"{start}.student.heads" not in made.origins:
            settings["student"]["heads"] = 0


def _cast(made: Draft) -> None:
    """Wide models train in bf16, unless the user sets a precision."""
    for name, settings in made.values["tracks"].items():
        for who, training in (("teacher", "teacher_training"), ("student", "training")):
            row, width = _row(settings[who]), settings[who]["width"]
            wide = row and row.bf16_width and isinstance(width, int | float) and width >= row.bf16_width
            if wide and f"tracks.{name}.{training}.precision" not in made.origins:
                settings[training]["precision"] = "bf16"


def _row(model: dict[str, Any]) -> Family | None:
    """The family of a model in a draft; None for one that is unknown, which the plan refuses when it is validated."""
    name = model["architecture"]
    return families().get(name) if isinstance(name, str) else None


def open_to_compiling(made: Draft, plan: Plan) -> list[Track]:
    """Tracks for which compiling the student must be measured: the user wants it, or has left it open where
    a trial has many steps."""
    said = {track.name: made.origins.get(_compiled(track.name)) for track in plan.tracks}
    return [track for track in plan.tracks if track.training.compiled or (not said[track.name] and track.steps >= LONG)]


def compile_where_it_pays(made: Draft, plan: Plan, paces: dict[str, Pace]) -> None:
    """Decides what the user left open. Raises PlanError where compiling is wanted and impossible."""
    for name, pace in paces.items():
        path, track = _compiled(name), plan.track(name)
        if path not in made.origins:
            made.values["tracks"][name]["training"]["compiled"] = pace.pays(track.steps)
        elif pace.problem:
            shown = path.removeprefix("tracks.")
            raise PlanError(f"{shown} = True: {pace.problem}", f"train without compiling: --set {shown}=false")


def _compiled(track: str) -> str:
    return f"tracks.{track}.training.compiled"


def _enough(made: Draft) -> None:
    """Raises PlanError where fewer texts are to be drawn than rows are to be generated, or the only view mirrored."""
    for name, settings in made.values["tracks"].items():
        if f"tracks.{name}.mirror" in made.origins and settings["views"] == 1:
            raise PlanError(f"{name}: an image's first view is never mirrored", "ask for more of them: --set views=8")
        wanted, drawn = settings["sizes"]["generated_rows"], settings["generator"]["samples"]
        if wanted > drawn:
            problem = f"{name}: {wanted:,} generated rows cannot come from {drawn:,} samples"
            raise PlanError(problem, f"filters leave some out: --set generator.samples={2 * wanted}")


def _settle(made: Draft, plan: Plan) -> None:
    """Values as the plan reads them (64.0 rows are 64): data are prepared from the draft."""
    for name, settings in made.values["tracks"].items():
        track = plan.track(name)
        settings |= track.model_dump(include={*TRACK_PARTS, *(["generator"] if track.generator else [])})
        settings["sizes"] = {size: value and getattr(track.task, size) for size, value in settings["sizes"].items()}
        settings |= track.task.model_dump(include={"input_size", "data_seed", "label_noise", "views", "mirror"})
    made.values["budget"] = plan.budget.model_dump()


def leave_out(made: Draft, options: Options) -> list[str]:
    """Drop the scale's own tracks that the proposed method is not defined for, and name them; tasks that the user named
    stay, and are refused later."""
    tracks = made.values["tracks"]
    if options.tasks or options.own:
        return []
    known = config.cards(config.TASKS)
    foreign = [name for name, settings in tracks.items() if not _suits(settings, known[name]["kind"])]
    if len(foreign) == len(tracks):
        return []
    dropped = [(name, tracks.pop(name)["method"]["name"]) for name in foreign]
    return [
        f"{name} was left out: {method} as planned is not for {NOUNS[known[name]['kind']]}" for name, method in dropped
    ]


def _suits(settings: dict[str, Any], kind: Kind) -> bool:
    """Whether a track's method and its choices are defined for its rows and its teacher."""
    bound = [name for name, setting in declared().items() if setting.layouts]
    method = Method(**{name: settings["method"][name] for name in ("name", *bound)})
    return method.suits(kind, families()[settings["teacher"]["architecture"]].layout)


def merge(made: Draft, proposal: Proposal) -> None:
    """Let a model's proposal replace defaults. What the user fixed stays."""
    said = proposal.model_dump(exclude_none=True, exclude={"title", "objective", "hypothesis", "methodology"})
    for name, value in said.items():
        field = "method.name" if name == "method" else full_path(name)
        for track in made.values["tracks"]:
            path = f"tracks.{track}.{field}"
            if made.origins.get(path) != "user":
                made.put(path, value, "model")
    _provide(made)
    _enough(made)


_SILENT = Proposal(title="untitled", objective="unset", hypothesis="unset", methodology="unset", method="kd")
