"""Lints of the models as they were prepared: their sizes, their layers, their tokenizers."""

from collections.abc import Iterator
from typing import get_args

from agent.plan.lint import Lint
from agent.plan.plan import Track
from agent.record.prepared import ModelFacts, Prepared, Who


def assistant_size(track: Track, prepared: Prepared) -> Iterator[Lint]:
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


def tokenizers(track: Track, prepared: Prepared) -> Iterator[Lint]:
    """Methods that need teacher and student to share a tokenizer."""
    uses_layers = "features" in track.method.card.uses or track.method.init_layers != "none"
    if prepared.apart and uses_layers:
        yield Lint(
            "refusal",
            f"tracks.{track.name}.method.name",
            f"teacher and student cut texts into different tokens, so {track.method.name} cannot compare their layers",
            "use a method that compares logits, such as --method kd, or models that share a tokenizer",
        )


def sizes(track: Track, prepared: Prepared) -> Iterator[Lint]:
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
