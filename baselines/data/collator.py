"""Batches: rows as tensors, padded or normalised, with the teacher's answers beside them."""

from collections.abc import Callable

import numpy as np
import torch

from baselines.data import augmented_views


class Batch(dict):
    """Tensors by name that move as one. What watches the gradient of one goes along (`trace.Gradients`)."""

    def to(self, device: torch.device | str, **how: bool) -> "Batch":
        return Batch({name: _moved(value, value.to(device, **how)) for name, value in self.items()})

    def pin_memory(self) -> "Batch":
        """For a card. What a teacher has just answered lies there already."""
        return Batch({name: _moved(v, v.pin_memory() if v.is_cpu else v) for name, v in self.items()})


def sent(value: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """The value on the device, which nobody waits for."""
    return value.pin_memory().to(device, non_blocking=True) if torch.device(device).type == "cuda" else value.to(device)


def _moved(value: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    watcher = getattr(value, "watcher", None)
    return there if watcher is None or there is value else watcher.follow(there.detach())


class Collator:
    """Batches of tensors: padded `input_ids` and `attention_mask`, or normalised `pixel_values` [B, C, H, W].

    Of the kind "language" a batch also holds `places` [B, L], true where another token follows; its `labels` [N] are
    these next tokens, row after row.
    """

    def __init__(
        self,
        task: dict,
        teacher_logits: Callable[[dict[str, torch.Tensor]], torch.Tensor] | None = None,
        view: int = 0,
        turning: bool = False,
        device: torch.device | str = "cpu",
    ):
        """`teacher_logits` gives the teacher's logits for a batch. Images that have several views are shown in that of
        the number `view`; `turning`, in their next one each time that they are drawn, neighbours in different ones.
        They go to the `device` as bytes, and are shown and normalised there.
        """
        self.task, self.teacher_logits, self.view, self.turning = task, teacher_logits, view, turning
        self.device = device
        self.seen = torch.zeros(0, dtype=torch.int32)  # times that a row was drawn, by id
        self.shown = torch.zeros(augmented_views.count(task), dtype=torch.bool)  # views of images, by their number
        self.collated = self.largest = 0  # rows in all batches; the longest text or the widest image among them
        self.before = self.counts()
        """As it was before the last batch."""
        if task["kind"] == "image":
            self.mean, self.std = (torch.tensor(task[name], device=device) for name in ("mean", "std"))

    def __call__(self, items: list[dict]) -> Batch:
        self.before = self.counts()
        ids = torch.tensor([int(item["ids"]) for item in items])
        if missing := max(0, int(ids.max()) + 1 - len(self.seen)):
            self.seen = torch.cat([self.seen, self.seen.new_zeros(missing)])
        batch = Batch(self._images(items, ids) if self.task["kind"] == "image" else self._texts(items))
        if self.task["kind"] == "language":
            batch |= next_tokens(batch["input_ids"], batch["attention_mask"])
        else:
            batch["labels"] = torch.tensor([int(item["labels"]) for item in items])
        batch["ids"] = ids
        self._note(ids, batch["pixel_values" if self.task["kind"] == "image" else "input_ids"].shape[-1])
        if self.teacher_logits is not None:
            batch["teacher_logits"] = self.teacher_logits(batch)
        return batch

    def counts(self) -> dict:
        """Everything counted over the batches so far, by the name of its attribute."""
        return {"seen": self.seen, "shown": self.shown, "collated": self.collated, "largest": self.largest}

    def _note(self, ids: torch.Tensor, size: int) -> None:
        self.seen = self.seen.index_add(0, ids, torch.ones_like(ids, dtype=torch.int32))  # `before` keeps the old one
        self.collated, self.largest = self.collated + len(ids), max(self.largest, size)

    def _texts(self, items: list[dict]) -> dict[str, torch.Tensor]:
        longest = max(len(item["input_ids"]) for item in items)
        tokens = np.full((len(items), longest), self.task["padding"], dtype=np.int64)
        mask = np.zeros((len(items), longest), dtype=np.int64)
        for row, item in enumerate(items):
            length = len(item["input_ids"])
            tokens[row, :length], mask[row, :length] = item["input_ids"], 1
        return {"input_ids": torch.from_numpy(tokens), "attention_mask": torch.from_numpy(mask)}

    def _images(self, items: list[dict], ids: torch.Tensor) -> dict[str, torch.Tensor]:
        pixels, batch = sent(torch.from_numpy(np.stack([item["pixels"] for item in items])), self.device), {}
        if (several := augmented_views.count(self.task)) > 1:
            batch["views"] = (self.view + (ids + self.seen[ids] if self.turning else torch.zeros_like(ids))) % several
            self.shown = self.shown.index_fill(0, batch["views"], True)
            pixels = augmented_views.shown(pixels, sent(batch["views"], self.device), self.task)
        rows = pixels.flatten(1).float().div_(255)
        each = rows.shape[1] // len(self.mean)  # as wide as a row: three numbers at a time take longer
        rows.sub_(self.mean.repeat(each)).div_(self.std.repeat(each))
        # Channels stay last in memory: convolutions are faster so.
        return batch | {"pixel_values": rows.view(pixels.shape).permute(0, 3, 1, 2)}


def next_tokens(ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
    """Where in ids [B, L] another token follows, as `places` [B, L], and these tokens, as `labels` [N]."""
    places = torch.zeros_like(mask, dtype=torch.bool)
    places[:, :-1] = mask[:, 1:] == 1
    return {"places": places, "labels": ids[:, 1:][places[:, :-1]]}


def last_places(mask: torch.Tensor) -> torch.Tensor:
    """[B, L]: true at each row's last token."""
    return torch.arange(mask.shape[1], device=mask.device) == mask.sum(dim=1, keepdim=True) - 1
