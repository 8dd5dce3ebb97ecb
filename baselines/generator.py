"""The generator: a small causal language model that reads a task's training texts, labels put aside, and writes more.

It has a vocabulary of its own, so text is all that passes to teacher and student. Of a pair it writes the second text;
the first, its prompt, is a training row's. Dev and test texts are seen by the filters alone.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from baselines import models
from baselines.methods import causal
from baselines.methods.genset import Sampling, Text, kept, sample
from baselines.tasks import BETWEEN, Splits

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


class Generated(NamedTuple):
    """Texts as rows hold them, and how they came about: `asked` for, `drawn`, `kept` by the filters, `rejected` by
    reason, and the SHA-256 of the generator's `weights`."""

    texts: list[str]
    facts: dict[str, Any]

    @property
    def note(self) -> str:
        """What a reader of the plan and the report is told."""
        facts = self.facts
        reasons = ", ".join(f"{facts['rejected'][reason]:,} {said}" for reason, said in REASONS.items())
        over = f"; {over:,} more were not needed" if (over := facts["kept"] - len(self.texts)) else ""
        short = f" ({facts['asked']:,} were asked for)" if len(self.texts) < facts["asked"] else ""
        return (
            f"{len(self.texts):,} generated rows{short} of {facts['drawn']:,} texts drawn from a language model that "
            f"had read the training and transfer rows; left out: {reasons}{over}"
        )


def generate(splits: Splits, pairs: bool, settings: dict, rows: int, longest: int, seed: int) -> Generated:
    """The first `rows` texts that pass the filters. `settings` are the plan's Generator, `longest` counts tokens.

    Raises BaselineError, with the counts, where no text passes.
    """
    pool = [_text(text, pairs) for text in splits.train.inputs + splits.transfer.inputs]
    held = [_text(text, pairs) for text in splits.dev.inputs + splits.test.inputs]
    tokenizer = _tokenizer(pool)
    model = causal.build(tokenizer.get_vocab_size(), longest + 3, seed, settings["width"], settings["layers"])
    causal.fit(model, [_sequence(tokenizer, text, longest) for text in pool], settings["steps"], seed)
    drawn = _drawn(model, tokenizer, pool, pairs, settings, longest, seed)
    found = kept(drawn, pool, held)
    facts = {
        "asked": rows,
        "drawn": len(drawn),
        "kept": len(found.places),
        "rejected": {reason: found.rejected[reason] for reason in REASONS},
        "weights": models.fingerprint(model),
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


def _sequence(tokenizer, text: Text, longest: int) -> list[int]:
    """Start, the text, end; of a pair the prompt, the second text, end. A text that is cut has no end to learn."""
    if isinstance(text, str):
        prompt, rest, room = [START], text, longest
    else:
        prompt, rest = _prompt(tokenizer, text, longest), text[1]
        room = longest - longest // 2
    ids = tokenizer.encode(rest).ids
    return [*prompt, *ids[:room], *[END] * (len(ids) <= room)]


def _prompt(tokenizer, text: Text, longest: int) -> list[int]:
    if isinstance(text, str):
        return [START]
    return [START, *tokenizer.encode(text[0]).ids[: longest // 2], SEPARATOR]


def _drawn(model, tokenizer, pool: Sequence[Text], pairs: bool, settings: dict, longest: int, seed: int) -> list[Text]:
    """As many texts as the plan draws, in the order of their prompts."""
    sources = [pool[number % len(pool)] for number in range(settings["samples"])]
    sampling = Sampling(
        longest - longest // 2 if pairs else longest,
        settings["top_k"],
        settings["top_p"],
        settings["temperature"],
        seed,
    )
    prompts = [_prompt(tokenizer, text, longest) for text in sources]
    written = tokenizer.decode_batch(sample(model, prompts, END, sampling, banned=[START, SEPARATOR]))
    plain = [" ".join(text.split()) for text in written]
    return [(source[0], text) for source, text in zip(sources, plain, strict=True)] if pairs else plain
