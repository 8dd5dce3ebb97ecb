"""Lints of a plan, before anything trains. A refusal stops it; a warning is shown, recorded and left to the user."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from agent.figures import count
from agent.plan.cards import NOUNS, cards
from agent.plan.families import Layers, a_or_an, families
from agent.plan.plan import ModelSpec, Plan, Track, Training
from agent.plan.prose import title_problem
from agent.record.prepared import ModelFacts, Prepared, Who
from agent.statistics import fewest_seeds, least_p

MOST_WARMUP = 0.2
LAYERS_OF: dict[Layers, str] = {"blocks": "a transformer's", "stages": "a CNN's", "recurrent": "a recurrent network's"}


@dataclass(frozen=True)
class Lint:
    level: Literal["warning", "refusal"]
    field: str
    message: str
    hint: str = ""


def foreseen(plan: Plan) -> list[Lint]:
    """Refusals that do not depend on rows: made before data are prepared, and texts written."""
    rules = (_as_it_is, _of_kind, _shown, _unlike, _generated)
    found = [*_tracks_agree(plan), *(each for track in plan.tracks for about in rules for each in about(track))]
    return [each for each in found if each.level == "refusal"]


def lint(plan: Plan, prepared: Mapping[str, Prepared]) -> list[Lint]:
    """Warnings and refusals, now that rows and models were prepared, per track."""
    found = [*_title(plan), *_seeds(plan), *_tracks_agree(plan)]
    for track in plan.tracks:
        found += _foreign(plan, track)
        found += _as_it_is(track)
        for about in (_rates, _schedule, _of_kind, _shown, _method, _unlike, _generated, _rows):
            found += about(track)
        found += _answers(plan, track)
        found += _sizes(track, prepared[track.name])
        found += _apart(track, prepared[track.name])
        found += _between(track, prepared[track.name])
    return found


def _title(plan: Plan) -> Iterator[Lint]:
    if problem := title_problem(plan.title, plan.idea):
        yield Lint("refusal", "title", problem, "run it again: a new proposal may have a complete title")


def _seeds(plan: Plan) -> Iterator[Lint]:
    n = len(plan.seeds)
    if least_p(n) >= plan.level:
        yield Lint(
            "warning",
            "seeds",
            f"{count(n, 'seed')} cannot reach the level {plan.level:g}, whatever the results",
            f"{fewest_seeds(plan.level)} are needed at least",
        )


def _tracks_agree(plan: Plan) -> Iterator[Lint]:
    """The arms of a plan are those of all its tracks."""
    without = [track.name for track in plan.tracks if not track.task.generated_rows]
    if 0 < len(without) < len(plan.tracks):
        yield Lint(
            "refusal",
            f"tracks.{without[0]}.task.generated_rows",
            "this track has no generated rows while another track has some, so the arms would differ",
            "plan them for every track, or one run per task: --task NAME",
        )


def _foreign(plan: Plan, track: Track) -> Iterator[Lint]:
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


def _as_it_is(track: Track) -> Iterator[Lint]:
    """A teacher that is not trained here must have been trained somewhere, and there is one of it."""
    if track.teacher_steps:
        return
    path = f"tracks.{track.name}.teacher_training.epochs"
    if not track.teacher.checkpoint:
        why = "a teacher with random weights must be trained"
        yield Lint(
            "refusal", path, why, f"train it, or name a checkpoint: --set {track.name}.teacher.checkpoint=FOLDER"
        )
    if track.method.teachers > 1:
        why = f"{track.method.teachers} teachers that are not trained are all the same"
        yield Lint("refusal", path, why, f"train them, or use --set {track.name}.teachers=1")


def _rates(track: Track) -> Iterator[Lint]:
    trained = "teacher_" if track.teacher_steps else ""  # as the assistant is
    for who, spec, training in (
        ("teacher_", track.teacher, track.teacher_training),
        *([(trained, track.assistant, track.assistant_training)] if track.assistant else []),
        ("", track.student, track.training),
    ):
        low, high = _usable(spec, training)
        if training.epochs and not low <= training.learning_rate <= high:
            yield Lint(
                "warning",
                f"tracks.{track.name}.{who}training.learning_rate",
                f"{training.learning_rate:g} is outside {low:g}..{high:g}, where a {_called(spec)} with "
                f"{training.optimizer} is known to train",
                "expect divergence above it and an untrained model below it",
            )


def _usable(spec: ModelSpec, training: Training) -> tuple[float, float]:
    family = families()[spec.architecture]
    rates = family.sgd_rates if training.optimizer == "sgd" else family.rates
    return rates.pretrained if spec.checkpoint else rates.random


def _called(spec: ModelSpec) -> str:
    return f"pretrained {spec.architecture}" if spec.checkpoint else f"{spec.architecture} from random weights"


def _schedule(track: Track) -> Iterator[Lint]:
    path = f"tracks.{track.name}.training"
    for who, training, steps in (
        ("teacher_", track.teacher_training, track.teacher_steps),
        ("", track.training, track.steps),
    ):
        if steps and training.warmup > MOST_WARMUP:
            yield Lint(
                "refusal",
                f"tracks.{track.name}.{who}training.warmup",
                f"{training.warmup:.0%} of {steps:,} steps are warm-up",
                f"{MOST_WARMUP:.0%} is the maximum: --set {who and 'teacher_training.'}warmup={MOST_WARMUP}",
            )
    if track.student.checkpoint and track.training.epochs > 5:
        yield Lint(
            "warning",
            f"{path}.epochs",
            f"{track.training.epochs:g} epochs for a pretrained {track.student.architecture}",
            "two to five are usual; more mostly overfit",
        )
    if track.training.optimizer == "adam" and track.training.weight_decay:
        yield Lint(
            "warning",
            f"{path}.weight_decay",
            "adam adds weight decay to the gradient, which couples the two",
            "use adamw, or no decay",
        )


def _of_kind(track: Track) -> Iterator[Lint]:
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


def _shown(track: Track) -> Iterator[Lint]:
    """Views of rows that have none, or fewer."""
    task, path = track.task, f"tracks.{track.name}"
    if task.views > task.most_views:
        there = f"an image of {task.input_size} pixels a side has {task.most_views}"
        why = there if task.kind == "image" else "only images have more than one"
        yield Lint(
            "refusal", f"{path}.views", f"{task.views} views were requested, but {why}", "use fewer, or --set views=1"
        )


def _method(track: Track) -> Iterator[Lint]:
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


def _between(track: Track, prepared: Prepared) -> Iterator[Lint]:
    """An assistant stands between the two by its parameters."""
    if not track.assistant:
        return
    most, own, least = (prepared.models[who].parameters for who in get_args(Who))
    if not least < own < most:
        yield Lint(
            "refusal",
            f"tracks.{track.name}.assistant",
            f"the assistant has {own:,} parameters, its teacher {most:,}, the student {least:,}: not in between",
            f"choose another size: --set {track.name}.assistant.width=N or .layers=N; or use kd",
        )
    if track.teacher.checkpoint and not track.assistant.checkpoint:
        yield Lint(
            "warning",
            f"tracks.{track.name}.assistant.checkpoint",
            "the assistant starts from random weights, its teacher from a checkpoint",
            "name a checkpoint of its size, or expect it to know less than both",
        )


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


def _apart(track: Track, prepared: Prepared) -> Iterator[Lint]:
    """Methods that need teacher and student to share a tokenizer."""
    uses_layers = "features" in track.method.card.uses or track.method.init_layers != "none"
    if prepared.apart and uses_layers:
        yield Lint(
            "refusal",
            f"tracks.{track.name}.method.name",
            f"teacher and student cut texts into different tokens, so {track.method.name} cannot compare their layers",
            "use a method that compares logits, such as --method kd, or models that share a tokenizer",
        )


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


def _unlike(track: Track) -> Iterator[Lint]:
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


def _generated(track: Track) -> Iterator[Lint]:
    """Generated rows that are missing, or that no arm would learn from."""
    path, rows, card = f"tracks.{track.name}.task.generated_rows", track.task.generated_rows, track.method.card
    if card.generated and not rows:
        yield Lint(
            "refusal",
            path,
            f"{track.method.name} needs generated rows, and none are planned",
            f"use --set generated_rows={card.generated}, or --method kd",
        )
    if rows and not card.unlabelled:
        yield Lint(
            "refusal",
            path,
            f"{track.method.name} learns only from labelled rows, and generated rows have no label",
            "use --set generated_rows=0, or --method genset",
        )
    if track.generator and not rows:
        yield Lint("warning", f"tracks.{track.name}.generator", "no generated rows are planned, so it will not be read")


def _rows(track: Track) -> Iterator[Lint]:
    if track.task.kind == "language" and track.task.transfer_rows:
        yield Lint(
            "refusal",
            f"tracks.{track.name}.task.transfer_rows",
            f"{track.task.transfer_rows:,} rows without labels beside rows that have none either",
            f"a corpus has only training rows: --set {track.name}.transfer_rows=0",
        )
    if track.task.test_rows < 400:
        yield Lint(
            "warning",
            f"tracks.{track.name}.task.test_rows",
            f"{track.task.test_rows} test rows: one example is worth {100 / track.task.test_rows:.1f} points",
        )


def _answers(plan: Plan, track: Track) -> Iterator[Lint]:
    """Every trial's logits are kept as one number per row and class, and those of a split are made in one process."""
    task, seeds = track.task, len(plan.seeds)
    final = seeds * (len(plan.reference_arms) + 1) + 1 + bool(track.assistant)
    for split, rows, trials in (("dev", task.dev_rows, seeds), ("test", task.test_rows, final)):
        each = 4 * max(1, len(task.labels))  # bytes of a row's
        most = min(MOST_LOGITS, (plan.budget.disk_mb << 20) // trials) // each
        if rows > most:
            what = "tokens" if task.kind == "language" else "classes"
            yield Lint(
                "refusal",
                f"tracks.{track.name}.task.{split}_rows",
                f"{rows:,} rows of {len(task.labels):,} {what} are {rows * each >> 20:,} MB of logits, of {trials} "
                f"models {rows * each * trials >> 20:,} MB: budget.disk_mb is {plan.budget.disk_mb:,}, and "
                f"{MOST_LOGITS >> 20:,} MB is the limit for one model",
                f"use --set {track.name}.{split}_rows={most}, fewer seeds, more disk or a smaller vocabulary",
            )


def _sizes(track: Track, prepared: Prepared) -> Iterator[Lint]:
    teacher, student = prepared.models["teacher"], prepared.models["student"]
    if student.parameters >= teacher.parameters:
        yield Lint(
            "refusal",
            f"tracks.{track.name}.student",
            f"the student has {student.parameters:,} parameters, its teacher {teacher.parameters:,}: "
            "the student must be smaller",
            "choose a smaller student or a larger teacher",
        )
    if track.method.card.pairs == "mapped":
        yield from _pairs(track, prepared)


def _pairs(track: Track, prepared: Prepared) -> Iterator[Lint]:
    """Layers that cannot be paired as planned."""
    teacher, student = prepared.models["teacher"], prepared.models["student"]
    method, path, fewest = track.method, f"tracks.{track.name}.method", min(teacher.layers, student.layers)
    if method.layer_map != "last1" and method.layers > fewest:
        yield Lint(
            "refusal",
            f"{path}.layers",
            f"{method.layers} layers cannot be matched: the teacher has {teacher.layers}, the student {student.layers}",
            f"at most {fewest} can be matched",
        )
    elif method.layer_map not in ("last", "last1") and student.layers > teacher.layers:
        yield Lint(
            "refusal",
            f"{path}.layer_map",
            f"a student of {student.layers} layers is deeper than its teacher of {teacher.layers}: "
            f"{method.layer_map} has no pairs for it",
            "use --set layer_map=last or last1",
        )
    elif small := _too_small(track, teacher, student):
        yield Lint(
            "refusal",
            f"{path}.min_map_size",
            f"a matched map is {small}×{small} pixels, {method.min_map_size}×{method.min_map_size} is the least "
            "whose attention is informative",
            f"use {track.name}.input_size={2 * track.task.input_size}, stem=cifar, or kd_selective with signal=hidden",
        )


def _too_small(track: Track, teacher: ModelFacts, student: ModelFacts) -> int:
    """The side of the last map, where attention is transferred on it and it is smaller than planned; else 0. Every
    layer map ends with the last layers, whose maps are the smallest."""
    method = track.method
    if "min_map_size" not in method.card.defaults or "min_map_size" in method.idle or not teacher.maps:
        return 0
    smallest = min(teacher.maps[-1], student.maps[-1])
    return smallest if smallest < method.min_map_size else 0


MOST_LOGITS = 1 << 30
