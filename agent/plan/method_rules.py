"""Lints of a method's settings: what it is defined for, and which settings fit each other and the models."""

from collections.abc import Iterator

from agent.plan.cards import NOUNS, cards
from agent.plan.families import Layers, a_or_an, families
from agent.plan.lint import Lint
from agent.plan.plan import Plan, Track

LAYERS_OF: dict[Layers, str] = {"blocks": "a transformer's", "stages": "a CNN's", "recurrent": "a recurrent network's"}


def unread(plan: Plan, track: Track) -> Iterator[Lint]:
    """Settings that somebody fixed and that the method does not have."""
    method, path = track.method, f"tracks.{track.name}.method"
    for name in type(method).model_fields:
        if plan.provenance.get(f"{path}.{name}") != "user":
            continue
        if name not in method.settings:
            yield Lint("warning", f"{path}.{name}", f"{method.name} has no such setting, so it will not be read")
        elif name in method.idle:
            yield Lint("warning", f"{path}.{name}", f"signal {method.signal} does not read it")
    if not track.assistant:
        for name in (name for name in plan.provenance if name.startswith(f"tracks.{track.name}.assistant.")):
            yield Lint("warning", name, f"{method.name} has no assistant, so it will not be read")


def kind(track: Track) -> Iterator[Lint]:
    """A method on rows that it is not defined for."""
    method, kinds = track.method, track.method.card.kinds
    if track.task.kind not in kinds:
        yield Lint(
            "refusal",
            f"tracks.{track.name}.method.name",
            f"{method.name} is for {' and '.join(NOUNS[kind] for kind in kinds)}, and {track.name} has "
            f"{NOUNS[track.task.kind]}",
            f"use {_instead(track)}",
        )


def views(track: Track) -> Iterator[Lint]:
    """Views of rows that have none, or fewer."""
    task, path = track.task, f"tracks.{track.name}"
    if task.views > task.most_views:
        there = f"an image of {task.input_size} pixels a side has {task.most_views}"
        why = there if task.kind == "image" else "only images have more than one"
        yield Lint(
            "refusal", f"{path}.views", f"{task.views} views were requested, but {why}", "use fewer, or --set views=1"
        )


def method_settings(track: Track) -> Iterator[Lint]:
    method, card, path = track.method, track.method.card, f"tracks.{track.name}.method"
    due = "ratio" in card.defaults and track.task.kind in card.kinds
    if due and method.chosen(track.task.train_rows) < track.training.batch_size:
        yield Lint(
            "refusal",
            f"{path}.ratio",
            f"{method.chosen(track.task.train_rows)} of {track.task.train_rows:,} texts would be kept, fewer than one "
            f"batch of {track.training.batch_size}",
            "keep more, or plan more rows",
        )
    if "temperature" in card.defaults and method.temperature < 0.5:
        yield Lint("warning", f"{path}.temperature", f"{method.temperature:g} sharpens the teacher towards hard labels")
    if "relation_heads" in card.defaults and (odd := _undivided(track)):
        yield Lint(
            "refusal",
            f"{path}.relation_heads",
            f"{method.relation_heads} heads do not divide the {odd[0]}'s width {odd[1]:g}",
            "choose a number that divides both widths",
        )
    if "peer_sizes" in card.defaults and method.peer_sizes == "searched" and not track.student.heads:
        yield Lint(
            "refusal",
            f"{path}.peer_sizes",
            f"sizes are searched by the parameters of a transformer, and the student is a {track.student.architecture}",
            f"use --set {track.name}.peer_sizes=same",
        )
    if method.layer_map == "critical" and "layer_map" in card.defaults and not card.critical:
        yield Lint(
            "refusal",
            f"{path}.layer_map",
            f"{method.name} does not pair layers by their score",
            "use --set layer_map=last, or --method kd_selective",
        )
    if method.scored and families()[track.teacher.architecture].layers == "stages":
        yield Lint(
            "refusal",
            f"{path}.layer_map",
            "critical layers are found by leaving one out, and the stages of a CNN cannot be left out",
            f"use --set {track.name}.layer_map=last",
        )
    if (least := _least(track)) < (fewest := _fewest(track)):
        yield Lint(
            "refusal",
            f"{path}.signal",
            f"relations are between {fewest} rows or more, and a batch may have {least}",
            f"use --set batch_size={track.training.batch_size + 1}, or another signal such as crd",
        )
    if "signal" in card.defaults:
        yield from _signal(track, path)


def _signal(track: Track, path: str) -> Iterator[Lint]:
    method, name = track.method, track.name
    layouts = {families()[spec.architecture].layout for spec in (track.teacher, track.student)}
    if method.signal == "attention" and "sequence" in layouts and track.task.kind in method.card.kinds:
        yield Lint(
            "refusal",
            f"{path}.signal",
            f"attention matrices of the teacher are not cached for {track.task.kind}",
            "use --set signal=hidden, cls, cos, relation or crd, or --method tinybert",
        )
    if method.signal in ("cls", "cos") and "map" in layouts:
        yield Lint(
            "refusal",
            f"{path}.signal",
            f"{method.signal} reads tokens, and {name} has images",
            "use --set signal=hidden, attention, relation or crd",
        )
    if method.init_layers != "none":
        yield from _init(track, path)


def _instead(track: Track) -> str:
    """The nearest legal choice: what the card names, or for a corpus every method that is for one."""
    if track.task.kind == "language":
        return " or ".join(name for name, card in cards().items() if "language" in card.kinds and card.teacher)
    return track.method.card.instead


def _fewest(track: Track) -> int:
    """Rows that a batch must have."""
    return 3 if track.method.signal == "relation" and "signal" in track.method.card.defaults else 1


def _least(track: Track) -> int:
    """Rows of the smallest batch: as experiment.training_arguments() has it, an epoch's last one counts only where
    fewer rows than a batch are labelled."""
    size = track.training.batch_size
    rest = track.pool_rows % size if track.task.train_rows < size else 0
    return rest or size


def _undivided(track: Track) -> tuple[str, float] | None:
    """The first model whose width the relation heads do not divide."""
    sides = (("student", track.student.width), ("teacher", track.teacher.width))
    return next((side for side in sides if side[1] % track.method.relation_heads), None)


def _init(track: Track, path: str) -> Iterator[Lint]:
    teacher, student = track.teacher, track.student
    family = families()[student.architecture]
    if family.layers == "stages":
        yield Lint(
            "refusal",
            f"{path}.init_layers",
            "a CNN student does not start from its teacher's layers",
            f"use --set {track.name}.init_layers=none",
        )
    elif teacher.architecture not in family.starts_from:
        yield Lint(
            "refusal",
            f"{path}.init_layers",
            f"{a_or_an(student.architecture)} student does not start from the layers of "
            f"{a_or_an(teacher.architecture)}",
            f"use --set student.architecture={teacher.architecture}, or init_layers=none",
        )
    elif (teacher.width, teacher.heads) != (student.width, student.heads):
        yield Lint(
            "refusal",
            f"{path}.init_layers",
            f"teacher layers of width {teacher.width:g} with {teacher.heads} heads do not fit a student of width "
            f"{student.width:g} with {student.heads}",
            "match the widths, or use the feature loss, which has projections",
        )
    elif bad := _unfit(track):
        yield Lint("refusal", f"{path}.init_layers", bad, "name a teacher block for each of the student's, or a word")


def _unfit(track: Track) -> str:
    """Why these blocks of the teacher cannot be the student's, or ""."""
    named: str | tuple[int, ...] = track.method.init_layers
    depth, wanted = track.teacher.layers, track.student.layers
    if isinstance(named, str):
        return f"a teacher of {depth} blocks has none for each of the student's {wanted}" * (
            named != "alternate" and wanted > depth
        )
    if len(named) != wanted:
        return f"{len(named)} teacher blocks are named, and the student has {wanted}"
    return f"block {max(named)} is named, and the teacher has {depth}" * (max(named) > depth)


def layers_unlike(track: Track) -> Iterator[Lint]:
    """Roles and methods that a bidirectional LSTM is not fit for."""
    teacher, student = (families()[spec.architecture] for spec in (track.teacher, track.student))
    called = a_or_an(track.student.architecture)
    if not teacher.teaches:
        able = next(name for name, row in families().items() if row.teaches and row.kind == teacher.kind)
        yield Lint(
            "refusal",
            f"tracks.{track.name}.teacher.architecture",
            f"{a_or_an(track.teacher.architecture)} is a student here, too weak to teach",
            f"use --set teacher.architecture={able}",
        )
    recurrent = student.layers == "recurrent"
    if recurrent and track.student.heads:
        yield Lint(
            "refusal",
            f"tracks.{track.name}.student.heads",
            f"{called} has no attention heads",
            "use --set student.heads=0, or leave it out",
        )
    unlike = recurrent or (teacher.teaches and student.layers != teacher.layers)
    if unlike and "features" in track.method.card.uses:
        yield Lint(
            "refusal",
            f"tracks.{track.name}.method.name",
            f"{track.method.name} matches layers, and those of {called} answer to none of {LAYERS_OF[teacher.layers]}",
            "use --method kd or another that learns from logits alone",
        )
    elif recurrent and track.method.init_layers != "none":
        yield Lint(
            "refusal",
            f"tracks.{track.name}.method.init_layers",
            f"{called} cannot start from the layers of a transformer",
            "use --set init_layers=none",
        )
