"""The generator: a causal language model that reads a task's training texts, labels put aside, and writes more.

It starts from random weights or from a checkpoint, with a vocabulary of its own or the checkpoint's, so text is all
that passes to teacher and student. Of a pair it writes the second text; the first, its prompt, is a training row's. Dev
and test texts are seen by the filters alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from baselines.data.examples import BETWEEN
from baselines.data.splits import Splits
from baselines.errors import BaselineError
from baselines.methods import causal
from baselines.methods.genset import Sampling, Text, kept, sample
from baselines.models import gpt2
from baselines.models.fingerprint import fingerprint

VOCABULARY = 2000  # byte pairs, so every text can be written and read back as it was
START, END, SEPARATOR = range(3)
SPECIAL = ["<|start|>", "<|end|>", "<|separator|>"]
REASONS = {
    "leak": "equal to a dev or test row",
    "copy": "equal to a training or transfer row",
    "duplicate": "written before",
    "short": "shorter than four characters",
    "markup": "with links, addresses, telephone numbers or HTML",
}


class Writer(NamedTuple):
    """A language model, its tokenizer, and the tokens that begin a text, end it, and stand between those of a pair;
    `unwritten` are never drawn."""

    model: PreTrainedModel
    tokenizer: Any
    start: int
    end: int
    separator: list[int]
    unwritten: list[int]

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids


class Generated(NamedTuple):
    """Texts as rows hold them, and how they came about: `asked` for, `drawn`, `kept` by the filters, `rejected` by
    reason; the generator's `layers` and `width`, whether it was `pretrained`, and the SHA-256 of its `weights`."""

    texts: list[str]
    facts: dict[str, Any]

    @property
    def note(self) -> str:
        """The line for readers of the plan and the report."""
        facts = self.facts
        reasons = ", ".join(f"{facts['rejected'][reason]:,} {said}" for reason, said in REASONS.items())
        over = f"; {over:,} more were not needed" if (over := facts["kept"] - len(self.texts)) else ""
        short = f" ({facts['asked']:,} were requested)" if len(self.texts) < facts["asked"] else ""
        return (
            f"{len(self.texts):,} generated rows{short} of {facts['drawn']:,} texts drawn from a "
            f"{'pre-trained ' * facts['pretrained']}language model trained on the training and transfer rows; "
            f"left out: {reasons}{over}"
        )


def published(folder: Path, tokenizer: PreTrainedTokenizerBase, settings: dict, longest: int) -> Writer:
    """The checkpoint in `folder`, which reads and writes in its own tokens.

    Raises BaselineError for one that is not a causal language model, that has other sizes than planned (`settings`; 0
    leaves them to the checkpoint), or that cannot read or end a text.
    """
    model = gpt2.load(folder)
    config, end = model.config, tokenizer.eos_token_id
    for size, found in (("layers", config.num_hidden_layers), ("width", config.hidden_size)):
        if settings[size] not in (0, found):
            problem = f"the generator's checkpoint has {size} {found}, the plan has {settings[size]}"
            raise BaselineError(problem, f"leave out generator.{size}: it is the checkpoint's")
    if len(tokenizer) > config.vocab_size:
        problem = f"the generator's tokenizer has {len(tokenizer):,} tokens, its model {config.vocab_size:,}"
        raise BaselineError(problem, "name a checkpoint with the tokenizer that it was trained with")
    if end is None:
        problem = "the generator's tokenizer has no token that ends a text"
        raise BaselineError(problem, "name its eos_token in tokenizer_config.json")
    start = end if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    plain = tokenizer.backend_tokenizer
    plain.no_truncation()
    plain.no_padding()
    mark = tokenizer.sep_token_id
    between = plain.encode("\n", add_special_tokens=False).ids if mark is None else [mark]
    needed, known = longest + 2 + len(between), getattr(config, "max_position_embeddings", None)
    if known is not None and known < needed:
        problem = f"the generator's checkpoint has positions for {known:,} tokens, the longest text needs {needed:,}"
        raise BaselineError(problem, f"use --set input_size={known - needed + longest}, or another checkpoint")
    return Writer(model, plain, start, end, between, [start] if start != end else [])


def _untrained(pool: Sequence[Text], settings: dict, longest: int, seed: int) -> Writer:
    tokenizer = _tokenizer(pool)
    model = gpt2.build(tokenizer.get_vocab_size(), longest + 3, seed, settings["width"], settings["layers"])
    return Writer(model, tokenizer, START, END, [SEPARATOR], [START, SEPARATOR])


def generate(
    splits: Splits, pairs: bool, settings: dict, rows: int, longest: int, seed: int, start: Writer | None = None
) -> Generated:
    """The first `rows` texts that pass the filters. `settings` are the plan's Generator, `longest` counts tokens;
    `start` is what learns the texts, where it is not a model of random weights.

    Raises BaselineError, with the counts, where no text passes.
    """
    pool = [_text(text, pairs) for text in splits.train.inputs + splits.transfer.inputs]
    held = [_text(text, pairs) for text in splits.dev.inputs + splits.test.inputs]
    writer = start or _untrained(pool, settings, longest, seed)
    set_seed(seed)  # a checkpoint may have dropout
    sequences = [_sequence(writer, text, longest) for text in pool]
    causal.fit(writer.model, sequences, settings["steps"], seed, rate=settings["learning_rate"])
    drawn = _drawn(writer, pool, pairs, settings, longest, seed)
    found = kept(drawn, pool, held)
    facts = {
        "asked": rows,
        "drawn": len(drawn),
        "kept": len(found.places),
        "rejected": {reason: found.rejected[reason] for reason in REASONS},
        "layers": writer.model.config.num_hidden_layers,
        "width": writer.model.config.hidden_size,
        "pretrained": start is not None,
        "weights": fingerprint(writer.model),
    }
    return Generated([_row(drawn[place]) for place in found.places[:rows]], facts)


def _text(row: str, pairs: bool) -> Text:
    if not pairs:
        return row
    first, _, second = row.partition(BETWEEN)
    return first, second


def _row(text: Text) -> str:
    return text if isinstance(text, str) else BETWEEN.join(text)


def _tokenizer(pool: Sequence[Text]):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),  # a set: its own order differs between processes
        show_progress=False,
    )
    tokenizer.train_from_iterator((part for text in pool for part in _parts(text)), trainer)
    return tokenizer


def _parts(text: Text) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text


def _sequence(writer: Writer, text: Text, longest: int) -> list[int]:
    """Start, the text, end; of a pair the prompt, the second text, end. A text that is cut has no end to learn."""
    if isinstance(text, str):
        rest, room = text, longest
    else:
        rest, room = text[1], longest - longest // 2
    ids = writer.ids(rest)
    return [*_prompt(writer, text, longest), *ids[:room], *[writer.end] * (len(ids) <= room)]


def _prompt(writer: Writer, text: Text, longest: int) -> list[int]:
    if isinstance(text, str):
        return [writer.start]
    return [writer.start, *writer.ids(text[0])[: longest // 2], *writer.separator]


def _drawn(writer: Writer, pool: Sequence[Text], pairs: bool, settings: dict, longest: int, seed: int) -> list[Text]:
    """As many texts as the plan draws, in the order of their prompts."""
    sources = [pool[number % len(pool)] for number in range(settings["samples"])]
    sampling = Sampling(
        longest - longest // 2 if pairs else longest,
        settings["top_k"],
        settings["top_p"],
        settings["temperature"],
        seed,
    )
    prompts = [_prompt(writer, text, longest) for text in sources]
    ids = sample(writer.model, prompts, writer.end, sampling, banned=writer.unwritten)
    written = writer.tokenizer.decode_batch(ids)
    plain = [" ".join(text.split()) for text in written]
    return [(source[0], text) for source, text in zip(sources, plain, strict=True)] if pairs else plain
