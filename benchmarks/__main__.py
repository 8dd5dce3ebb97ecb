"""What distillation costs, measured beside the floor and the rivals in one run.

    python -m benchmarks [--data-dir FOLDER] [--tier card] [--quick] [--write]    about ten minutes on two idle cores

With a folder that holds AG News, the recipe track has its lengths, else those of the docstrings. Where torch sees a
graphics card, that is measured, by its own tier. --quick is for tests: small models, few steps, numbers that mean
nothing. --write puts the tables into docs/benchmarks.md.
Exits with 1 where an arm computed something else than the others.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from benchmarks import rate, recipe, setting
from benchmarks.accuracy import prepared
from benchmarks.arms import CUDA, OF_IMAGES, OWN
from benchmarks.machine import described
from benchmarks.measure import CLOSEST, Measured, disagreement, measured, ratio
from benchmarks.page import DOCS, put
from benchmarks.recipe import Way
from benchmarks.rivals import FOR_IMAGES, PACKAGES, RIVALS, missing
from benchmarks.setting import Setting
from benchmarks.tier import TIERS, Bound, Tier, quick

WHAT = {
    "F0": "the floor: a bare loop, the student alone",
    "F0-copy": "the same with the library's MobileNetV2, which copies each feature map to pad it",
    "F1": "tuned Trainer, the student alone",
    "N": "naive Trainer, the teacher asked at every step",
    "TB-G": "TextBrewer, GeneralDistiller",
    "TB-C": "TextBrewer, BasicDistiller, cached logits",
    "TD": "torchdistill, without Accelerate",
    "TM": "timm, its task for distillation from logits",
    "K-on": "kdagent's trial, the teacher asked at every step",
    "K-c": "kdagent's trial, cached answers, every check on",
    "K-given": "the same, with fresh memory at each step, as the system gives it",
    "K-32": "as K-full in fp32",
    "K-full": "kdagent as it runs: cached, its own batches, trials side by side, wide encoders in bf16",
}
ALONE = ("F0", "F0-copy", "F1")
TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2}  # of the first losses, relative
PAPER = {"width": 768, "heads": 12}  # of the paper preset's texts
BATCH = 32  # of the paper preset


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--data-dir", default="")
    parser.add_argument("--tier", choices=TIERS, default="card" if CUDA else "processor")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(words)
    began = time.monotonic()
    cannot = {name: why for name in RIVALS if (why := missing(name))}
    arms = OWN | {name: arm for name, arm in RIVALS.items() if name not in cannot}
    tier = TIERS[options.tier]
    if options.quick:
        tier = _shrunk(tier)
    said, wrong = list[str](), False
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for table, bad in _tables(place, tier, arms, options.data_dir):
            print(f"{table}\n", file=sys.stderr, flush=True)  # one that is cut off has not measured for nothing
            said.append(table)
            wrong |= bad
    text = "\n\n".join(said)
    text += "".join(f"\n- {name} ({WHAT[name]}) was not run: {why}" for name, why in cannot.items())
    packages = sorted({PACKAGES[name] for name in RIVALS if name not in cannot})
    text += f"\n\n{described(*packages)} The whole took {(time.monotonic() - began) / 60:.1f} minutes."
    print(text)
    if options.write:
        put(DOCS / "benchmarks.md", "bench", text)
    return int(wrong)


def _tables(place: Path, tier: Tier, arms: dict, data_dir: str) -> Iterator[tuple[str, bool]]:
    """Each, and whether an arm in it computes something else."""
    yield from parities(place, tier, arms)
    threads, wide = os.cpu_count() or 1, PAPER if tier.wide else {}
    lengths = _lengths(place, tier, data_dir)
    texts = setting.text(place / "mixed", lengths, 128, BATCH, threads, **wide)
    images = setting.images(place / "many", tier.pictures, BATCH, threads)
    told = _described(lengths, data_dir), f"32×32 images, batches of {BATCH}, {images.student['stem']} stem"
    timed = [replace(each, precision=tier.precision, block=tier.block) for each in (texts, images)]
    found = [recipe.ways(each, arms) for each in timed]
    with recipe.workers([way for ways in found for way in ways.values()]) as started:
        for name, ways, what in zip(("text, recipe", "images, recipe"), found, told, strict=True):
            yield _recipe(name, ways, recipe.rounds(ways, started, tier.rounds), tier, what), False


def parities(place: Path, tier: Tier, arms: dict, **sizes: int) -> Iterator[tuple[str, bool]]:
    """The tables of step parity; texts are read by models of the paper's sizes, or of those."""
    threads = os.cpu_count() or 1
    pictured = {name: (arms | OF_IMAGES)[name] for name in WHAT if name in arms | OF_IMAGES}
    some = {name: pictured[name] for name in ("F0", "F0-copy", "F1", "N", "K-c")}
    read = {name: arm for name, arm in arms.items() if name not in FOR_IMAGES}
    text = setting.text(place / "text", [64] * tier.steps * tier.text, 64, tier.text, threads, **sizes or PAPER)
    images = setting.images(place / "images", tier.steps * tier.image, tier.image, threads)
    short = setting.images(place / "short", tier.steps * tier.short, tier.short, threads, "imagenet")
    tracks = {
        "text": (text, read, 1),
        "images": (images, pictured, tier.passes),
        "images, short steps": (short, some, tier.passes),
    }
    for track, (each, those, passes) in tracks.items():
        cast = replace(each, precision=tier.precision, block=tier.block)
        yield _parity(track, cast, measured(cast, those, passes, passes), tier.bounds[track])


def _shrunk(tier: Tier) -> Tier:
    """With models as small."""
    for who, layers in (("teacher", 2), ("student", 1)):
        setting.TEXT[who] |= {"layers": layers, "width": 32, "heads": 2}
    PAPER.update(width=32, heads=2)
    setting.IMAGES["teacher"] |= {"width": 8, "blocks": [1, 1, 1, 1], "bottleneck": False}
    setting.IMAGES["student"] |= {"width": 0.35}
    return quick(tier)


def _lengths(place: Path, tier: Tier, data_dir: str) -> list[int]:
    """Of real texts, in tokens of a vocabulary of their own, cut at 128."""
    task = {"name": "ag_news", "data_dir": data_dir} if data_dir else {"name": "docstrings"}
    track = "small.ag_news" if data_dir else "demo.docstrings"
    sizes = {"train_rows": max(2000, tier.texts), "transfer_rows": 0, "dev_rows": 100, "test_rows": 100}
    data = prepared(place / "rows", task, track, 128, **sizes)
    lengths = load_file(data / "seen" / "train.safetensors")["lengths"].tolist()
    return [max(3, length) for length in lengths[: tier.texts]]


def _described(lengths: list[int], data_dir: str) -> str:
    name, sizes = "AG News" if data_dir else "the docstrings", np.array(lengths)
    return (
        f"{len(lengths)} texts of {name}, {sizes.mean():.1f} tokens in the mean, {sizes.max()} at most, "
        f"batches of {BATCH}"
    )


def _parity(track: str, each: Setting, found: dict[str, Measured], bounds: Sequence[Bound]) -> tuple[str, bool]:
    """The same padded batches in the same order for every arm."""
    shape = "64] tokens" if each.name == "text" else f"3, 32, 32], {each.student['stem']} stem"
    lines = [
        f"**Step parity, {track}**: {_models(each)}, batches of [{each.batch_size}, {shape}, {each.precision}, "
        f"{each.threads} threads; arms take turns of {each.block} step{'s' * (each.block > 1)}, "
        f"{len(found['N'].seconds)} timed turns, {len(found['F0'].seconds)} of {' and '.join(CLOSEST)}.",
        "",
        "| arm | | ms per step | beside F0 | beside N | MB | first losses differ by |",
        "|---|---|---|---|---|---|---|",
    ]
    wrong = False
    for name, seen in found.items():
        judge = "F0" if name in ALONE else "N"
        differ = disagreement(seen.losses, found[judge].losses)
        if differ > TOLERANCE[each.precision]:
            lines.append(f"| {name} | {WHAT[name]} | no figure: it computes something else | | | | **{differ:.1e}** |")
            wrong = True
            continue
        beside = [_ratio(seen.seconds, found[other].seconds) for other in ("F0", "N")]
        lines.append(
            f"| {name} | {WHAT[name]} | {1e3 * float(np.median(seen.seconds)):.0f} | {beside[0]} | {beside[1]} "
            f"| {seen.memory:.0f} | {differ:.0e} |"
        )
    lines += ["", *_verdicts(bounds, {name: seen.seconds for name, seen in found.items()})]
    lines.append(_used(each, found["K-c"]))
    lines.append(
        f"- the teacher's answers to all {len(each.rows)} rows were written down once in {each.cache_seconds:.1f} s"
    )
    return "\n".join(lines), wrong


def _used(each: Setting, seen: Measured) -> str:
    """What share of the machine K-c uses."""
    done, can = rate.operations(each), rate.of_matrices(each.precision)
    speed = done / float(np.median(seen.seconds))
    return (
        f"- K-c: {done / 1e9:.1f} GFLOP per step, {speed / 1e9:.0f} GFLOP/s, {speed / can:.0%} of what multiplying "
        f"matrices of [{rate.SIDE}, {rate.SIDE}] reaches in {each.precision}"
    )


def _recipe(name: str, found: dict[str, Way], seconds: dict[str, list[float]], tier: Tier, described: str) -> str:
    """Each framework as its users run it."""
    each = found["N"].setting
    lines = [
        f"**{name.capitalize()}**: {_models(each)}, {described}, each arm's own order of rows, {tier.rounds} rounds.",
        "",
        "| arm | | precision | processes × threads | rows per second | time beside N | time beside F0 |",
        "|---|---|---|---|---|---|---|",
    ]
    for shown, way in found.items():
        beside = [_ratio(seconds[shown], seconds[other]) for other in ("N", "F0")]
        rate = 1 / float(np.median(seconds[shown]))
        filling = f"{way.setting.precision} | {way.count} × {way.threads}"
        lines.append(f"| {shown} | {WHAT[shown]} | {filling} | {rate:.1f} | {beside[0]} | {beside[1]} |")
    return "\n".join([*lines, "", *_verdicts(tier.bounds[name], seconds)])


def _verdicts(bounds: Sequence[Bound], seconds: dict[str, list[float]]) -> list[str]:
    lines = []
    for one, other, most in bounds:
        if one in seconds and other in seconds:
            found, low, high = ratio(seconds[one], seconds[other])
            verdict = (
                "reached" if high <= most else "**not reached**" if low > most else "open, the interval includes it"
            )
            beside = "" if other == "F0" else f"; the floor itself is {ratio(seconds['F0'], seconds[other])[0]:.2f}"
            said = f"{one} / {other} = {found:.2f} ({low:.2f}–{high:.2f}), to be at most {most:.2f}"
            lines.append(f"- {said}: {verdict}{beside}")
    return lines


def _ratio(one: list[float], other: list[float]) -> str:
    found, low, high = ratio(one, other)
    return f"{found:.2f} ({low:.2f}–{high:.2f})"


def _models(each: Setting) -> str:
    teacher = json.loads((each.folder / "teacher" / "teacher.json").read_text())
    student = each.build_student()
    sizes = [teacher["parameters"], sum(p.numel() for p in student.parameters())]
    names = [teacher["spec"]["architecture"], each.student["architecture"]]
    wide = f", width {each.student['width']:g}" if each.name == "text" else ""
    return f"{names[0]} ({sizes[0] / 1e6:.1f} M) → {names[1]} ({sizes[1] / 1e6:.1f} M{wide})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
