"""Which rows make a batch: texts of similar length, so that little of it is padding, and still at random."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler
from transformers import TrainerCallback

from baselines.rows import Rows

WINDOW = 3  # batches that are sorted by length together: more save little, and bring rows of one class together


class SimilarLengths(Sampler):
    """Places of rows, for batches of `batch_size`: a new random order in each epoch, cut into windows of `window`
    batches; the rows of a window are put in order of their length; then all batches are shuffled.

    Length says something about the class: batches out of one long sorted list would often hold one class, and a
    training that meets the short texts first learns otherwise than one that does not.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, window: int = WINDOW) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = np.asarray(lengths), batch_size, seed, 0
        self.window = window

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Trainer names the epoch before each, so that a training that goes on draws the same order again."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        draw, window = np.random.default_rng([self.seed, self.epoch]), self.window * self.batch_size
        order = draw.permutation(len(self))
        for start in range(0, len(order), window):
            drawn = order[start : start + window]
            order[start : start + window] = drawn[np.argsort(self.lengths[drawn], kind="stable")]
        whole = len(order) // self.batch_size * self.batch_size
        batches = draw.permutation(order[:whole].reshape(-1, self.batch_size))
        yield from [*batches.ravel().tolist(), *order[whole:].tolist()]


class BatchCallback(TrainerCallback):
    """Has the live Trainer draw texts by `SimilarLengths`, whatever file built it."""

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window

    def on_train_begin(self, args, state, control, *, train_dataloader, **kwargs):
        rows = train_dataloader.dataset
        if not isinstance(rows, Rows) or rows.kind == "image":
            return
        step = args.train_batch_size * args.gradient_accumulation_steps  # the same rows, however they are split
        lengths = [len(item) for item in rows.items]
        train_dataloader.batch_sampler.sampler = SimilarLengths(lengths, step, args.data_seed, self.window)
