"""The prepare process: turns a task into rows on disk, and reports what was used before the plan is frozen.

    python -m baselines prepare JOB.json …

Writes three folders that different processes may see: `seen/` (training, transfer and generated rows, for trials),
`held/` (inputs of the dev and test rows, for prediction) and `labels/` (labels of transfer, dev and test rows, for
scoring and the teacher), and `facts.json` last. Where teacher and student have tokenizers of their own, `teacher/`
holds the same rows in the teacher's tokens, in its own `seen/` and `held/`.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from baselines.data import rows, tasks
from baselines.data.columns import decode
from baselines.data.corpora import at_least
from baselines.data.examples import DataSource, Examples
from baselines.data.job_files import PrepareJob
from baselines.data.splits import Splits, check, noisy, split
from baselines.errors import BaselineError, reason
from baselines.models.build import build, fetch, refuse_foreign
from baselines.models.fingerprint import parameters
from baselines.models.layers import spatial, taps
from baselines.processes import generator

VOCABULARY = 8000  # entries trained on the pool when no checkpoint brings a tokenizer
CLASSES, LETTERS = 512, 96  # entries of a corpus's vocabulary, each of them a class, and letters among them
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def prepare(job: PrepareJob) -> None:
    """job: out, task, sizes, data_seed, label_noise, input_size, batch_size; teacher, student, and where there is one
    assistant (specs); generator (settings), where sizes ask for generated_rows; views and mirror, where images have
    more than one view."""
    out = Path(job["out"])
    source = tasks.load(job["task"])
    for who in ("teacher", "student"):
        refuse_foreign(job[who], source.kind)
    if source.kind != "image" and "views" in job:
        raise BaselineError(f"{job['task']['name']} has no images, and only images have views", "leave out views")
    writer = _writer(job, source, out)
    for folder in ("seen", "held", "labels"):
        (out / folder).mkdir(exist_ok=True)
    who_there_is = [who for who in ("teacher", "assistant", "student") if who in job]
    specs = {who: fetch(job[who], out / "seen" / who) for who in who_there_is}
    tokenizer = None
    if source.kind == "language":
        if job["label_noise"]:
            raise BaselineError("a corpus has no labels that could be wrong", "leave out label_noise")
        tokenizer, source = _corpus(source, job["input_size"], specs)
    splits = split(source, job["sizes"], job["data_seed"])
    splits = noisy(splits, job["label_noise"], len(source.names), job["data_seed"])
    check(source, splits, job["batch_size"])
    if made := _generated(job, source, splits, writer):
        splits = _with(splits, made)
        (out / "seen" / "generated.json").write_text(json.dumps({"schema": 1, "texts": made.texts} | made.facts))
    apart = source.kind == "text" and _speak_apart(specs)
    if source.kind == "image":
        encode = _ImageEncoder(job, source)
    else:
        readers = [spec for who, spec in specs.items() if not (apart and who == "teacher")]
        encode = _TextEncoder(readers, job["input_size"], splits, out, tokenizer)
    task = {"schema": 1, "kind": source.kind, "labels": source.names, "input_size": job["input_size"]} | encode.facts
    encoded = {name: encode(part) for name, part in splits.parts.items()}
    if source.kind == "language":
        splits = _asked(splits, encoded)
    if source.kind == "image":
        task |= _moments(encoded["train"] + encoded["transfer"])
    _write(out, source.kind, splits, encoded)
    (out / "seen" / "task.json").write_text(json.dumps(task))
    views = {"teacher": _as_teacher(specs["teacher"], job["input_size"], splits, task, out)} if apart else {}
    facts = {
        "schema": 1,
        "task": task,
        "models": {who: _model_facts(spec, views.get(who, (task,))[0]) for who, spec in specs.items()},
        "apart": bool(views),
    } | _facts(source, splits, [encoded, *(rows for _, rows in views.values())], len(task["labels"]))
    if made:
        facts["generated"] = made.facts
    (out / "facts.json").write_text(json.dumps(facts, indent=1))


def _writer(job: dict, source: DataSource, out: Path) -> generator.Writer | None:
    """The checkpoint that is to write rows, where there is one; what cannot is refused before anything takes time."""
    if not job["sizes"].get("generated_rows", 0):
        return None
    if source.kind != "text":
        held = "no labels to teach" if source.kind == "language" else "images"
        problem = f"generated rows are texts, and {job['task']['name']} has {held}"
        raise BaselineError(problem, "name a task of labelled texts, or use --set generated_rows=0")
    if not job["generator"]["checkpoint"]:
        return None
    folder = Path(fetch(job["generator"], out / "generator")["checkpoint"])
    [tokenizer] = _tokenizers([str(folder)])
    return generator.published(folder, tokenizer, job["generator"], job["input_size"])


def _generated(
    job: dict, source: DataSource, splits: Splits, writer: generator.Writer | None
) -> generator.Generated | None:
    """Texts that a language model writes here, since dev and test rows, which none may equal, are seen nowhere else."""
    if not (wanted := job["sizes"].get("generated_rows", 0)):
        return None
    longest, seed = job["input_size"], job["data_seed"]
    made = generator.generate(splits, source.pairs, job["generator"], wanted, longest, seed, writer)
    print(made.note, flush=True)
    return made


def _with(splits: Splits, made: generator.Generated) -> Splits:
    generated = Examples(made.texts, [rows.NO_LABEL] * len(made.texts))
    return replace(splits, generated=generated, notes=[*splits.notes, made.note])


def _as_teacher(spec: dict, longest: int, splits: Splits, task: dict, out: Path) -> tuple[dict, dict]:
    """The rows in the teacher's own tokens: its task, and the tokens by split."""
    for folder in ("seen", "held"):
        (out / "teacher" / folder).mkdir(parents=True, exist_ok=True)
    encode = _TextEncoder([spec], longest, splits, out / "teacher")
    encoded = {name: encode(part) for name, part in splits.parts.items()}
    _write_inputs(out / "teacher", "text", splits, encoded)
    (out / "teacher" / "seen" / "task.json").write_text(json.dumps(task | encode.facts))
    return task | encode.facts, encoded


def _write(out: Path, kind: str, splits: Splits, encoded: dict) -> None:
    _write_inputs(out, kind, splits, encoded)
    for name in ("transfer", "dev", "test"):
        rows.save_file({"labels": _labels(splits, name)}, out / "labels" / f"{name}.safetensors")


def _labels(splits: Splits, name: str) -> np.ndarray:
    return np.array(getattr(splits, name).labels, dtype=np.int64)


def _write_inputs(out: Path, kind: str, splits: Splits, encoded: dict) -> None:
    known = None if kind == "language" else _labels(splits, "train")
    rows.write_inputs(out / "seen" / "train.safetensors", kind, encoded["train"], known)
    for folder, name in (("seen", "transfer"), ("seen", "generated"), ("held", "dev"), ("held", "test")):
        if name not in encoded:
            continue
        rows.write_inputs(out / folder / f"{name}.safetensors", kind, encoded[name], None)


def _facts(source: DataSource, splits: Splits, views: list[dict], classes: int) -> dict:
    """`views`: the rows as the student reads them, and as the teacher does where that is another way."""
    parts = splits.parts
    labelled = ("dev", "test") if source.kind == "language" else ("train", "transfer", "dev", "test")
    counts = {name: np.bincount(parts[name].labels, minlength=classes).tolist() for name in labelled}
    facts = {
        "source": source.source,
        "revision": source.revision,
        "notes": splits.notes,
        "hash": splits.hash(),
        "overlap": splits.overlap(),
        "rows": {name: len(part) for name, part in parts.items()},
        "label_counts": {name: counts.get(name, []) for name in parts},
    }
    if source.kind != "image":
        facts["tokens"] = int(sum(len(item) for name in ("train", "transfer", "dev") for item in views[0][name]))
    if len(views) > 1:
        apart = "teacher and student each read the texts in tokens of a vocabulary of their own"
        facts["notes"] = [*splits.notes, apart]
    facts["encoded"] = hashlib.sha256(
        b"".join(item.tobytes() for encoded in views for part in encoded.values() for item in part)
    ).hexdigest()
    return facts


class _TextEncoder:
    """Token ids, cut at `longest`, from the models' own tokenizer or from a vocabulary of the pool."""

    def __init__(self, specs: list[dict], longest: int, splits: Splits, out: Path, tokenizer=None) -> None:
        checkpoints = [spec["checkpoint"] for spec in specs if spec["checkpoint"]]
        texts = splits.train.inputs + splits.transfer.inputs
        padding = "[PAD]"
        if checkpoints and not tokenizer:
            self.tokenizer, padding = _shared_tokenizer(checkpoints)
        else:
            self.tokenizer = tokenizer or _train_tokenizer(texts)
        self.tokenizer.enable_truncation(longest)
        self.tokenizer.no_padding()
        self.tokenizer.save(str(out / "seen" / "tokenizer.json"))
        known = self.tokenizer.token_to_id(padding) or 0  # the texts of a corpus are of one length and need none
        self.facts = {"vocabulary": self.tokenizer.get_vocab_size(), "padding": known}
        if tokenizer:
            self.facts["labels"] = [tokenizer.id_to_token(number) for number in range(self.facts["vocabulary"])]

    def __call__(self, examples: Examples) -> list[np.ndarray]:
        return [np.array(e.ids, dtype=np.int32) for e in self.tokenizer.encode_batch(examples.inputs)]


def _corpus(source: DataSource, longest: int, specs: dict) -> tuple:
    """The vocabulary of the checkpoints, or one of the pool that a small model can tell apart; and the texts that fill
    `longest` of its tokens."""
    checkpoints = [spec["checkpoint"] for spec in specs.values() if spec["checkpoint"]]
    tokenizer = _classes(checkpoints) if checkpoints else None
    tokenizer = tokenizer or _train_tokenizer(source.pool.inputs, CLASSES, limit_alphabet=LETTERS)
    tokenizer.post_processor = None  # what begins or ends a text is not part of it
    return tokenizer, at_least(
        source, longest, lambda texts: [len(encoded) for encoded in tokenizer.encode_batch(texts)]
    )


def _classes(folders: list[str]):
    """The tokenizer of language models, whose tokens are the classes of both."""
    loaded = _tokenizers(folders)
    if any(other.get_vocab() != loaded[0].get_vocab() for other in loaded):
        raise BaselineError(
            "teacher and student have different vocabularies, and each token of a corpus is a class",
            "choose two of one tokenizer, or leave out student.checkpoint: from sizes it takes the teacher's",
        )
    vocabulary = loaded[0].get_vocab()
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        problem = f"the checkpoint's tokenizer has {len(vocabulary):,} tokens, and their ids leave some out"
        raise BaselineError(problem, "number its tokens from 0 on")
    return loaded[0].backend_tokenizer


def _asked(splits: Splits, encoded: dict[str, list[np.ndarray]]) -> Splits:
    """Dev and test rows of a corpus: the last token leaves the input and becomes the label. Training rows have none."""
    held = {}
    for name in ("dev", "test"):
        held[name] = Examples(getattr(splits, name).inputs, [int(row[-1]) for row in encoded[name]])
        encoded[name] = [row[:-1] for row in encoded[name]]
    return replace(splits, **held)


def _train_tokenizer(texts: list[str], size: int = VOCABULARY, **limits: int):
    """Byte pairs, not word pieces: the latter's trainer breaks ties by hash order, so no two runs agree on the ids."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False, **limits)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", SPECIAL.index("[SEP]")), ("[CLS]", SPECIAL.index("[CLS]"))
    )
    return tokenizer


def _speak_apart(specs: dict) -> bool:
    """Whether teacher and student come with vocabularies of their own."""
    folders = [specs[who]["checkpoint"] for who in ("teacher", "student")]
    return all(folders) and not _same(*_tokenizers(folders))


def _same(one, other) -> bool:
    return (one.get_vocab(), one.special_tokens_map) == (other.get_vocab(), other.special_tokens_map)


def _shared_tokenizer(folders: list[str]) -> tuple:
    """The tokenizer that models use together, and its padding token.

    Token ids of one vocabulary must never reach a model of another.
    """
    loaded = _tokenizers(folders)
    if not all(_same(other, loaded[0]) for other in loaded):
        raise BaselineError(
            "assistant and student have different vocabularies: one encoding of the text cannot feed both",
            "choose an assistant and a student that share a tokenizer",
        )
    if loaded[0].pad_token is None:
        raise BaselineError("the checkpoint's tokenizer has no padding token", "name one in tokenizer_config.json")
    return loaded[0].backend_tokenizer, loaded[0].pad_token


def _tokenizers(folders: list[str]) -> list:
    from transformers import AutoTokenizer

    for folder in folders:  # without these files transformers makes an empty tokenizer, to which every word is unknown
        if not any((Path(folder) / name).exists() for name in ("tokenizer.json", "vocab.txt", "merges.txt")):
            raise BaselineError(f"no tokenizer in the checkpoint of the {Path(folder).name}", "add its tokenizer.json")
    try:
        return [AutoTokenizer.from_pretrained(folder) for folder in folders]
    except (OSError, ValueError) as error:
        raise BaselineError(f"the checkpoint's tokenizer cannot be read: {reason(error)}", "repair it") from error


class _ImageEncoder:
    """uint8 [H, W, C] with sides of input_size pixels."""

    def __init__(self, job: dict, source: DataSource) -> None:
        self.size, self.name = job["input_size"], job["task"]["name"]
        self.facts = {"channels": decode(source.pool.inputs[0], self.name).shape[2]}
        self.facts |= {name: job[name] for name in ("views", "mirror") if name in job}

    def __call__(self, examples: Examples) -> list[np.ndarray]:
        return [self._sized(decode(value, self.name)) for value in examples.inputs]

    def _sized(self, pixels: np.ndarray) -> np.ndarray:
        from PIL import Image

        if pixels.shape[:2] == (self.size, self.size):
            return pixels
        image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[2] == 1 else pixels)
        sized = np.asarray(image.resize((self.size, self.size), Image.Resampling.BILINEAR))
        return sized.reshape(self.size, self.size, pixels.shape[2])


def _moments(images: list[np.ndarray]) -> dict:
    """Mean and standard deviation per channel over the pool, on the 0..1 scale; image by image, to save memory."""
    per_image = np.array([[(image / 255).mean((0, 1)), np.square(image / 255).mean((0, 1))] for image in images])
    mean, square = per_image.mean(0)
    return {"mean": mean.tolist(), "std": np.sqrt(np.maximum(square - mean**2, 1e-6)).tolist()}


def _model_facts(spec: dict, task: dict) -> dict:
    """Sizes of a model, counted on one that is built without numbers (a checkpoint's are read)."""
    with torch.device("meta" if not spec["checkpoint"] else "cpu"):
        model = build(spec, task, seed=0)
    return {
        "spec": spec,
        "class": type(model).__name__,
        "parameters": parameters(model),
        "size_mb": sum(t.numel() * t.element_size() for t in model.state_dict().values()) / 1e6,
        "layers": len(taps(model)),
    } | ({"maps": _maps(model, task)} if spatial(model) else {})


def _maps(model: nn.Module, task: dict) -> list[int]:
    """Pixels a side of the map that each of a CNN's layers gives."""
    size = task["input_size"]
    image = torch.zeros(1, task["channels"], size, size, device=next(model.parameters()).device)
    with torch.no_grad():
        states = model.eval()(image, output_hidden_states=True).hidden_states
    return [states[tap].shape[-1] for tap in taps(model)]
