"""The rows that a job names, as the arm of a trial may see them."""

from pathlib import Path

from safetensors.numpy import load_file

from baselines.data.rows import Rows, read_rows


def splits(job: dict, unit: dict, kind: str) -> tuple[Rows, Rows, Rows]:
    """Training, transfer and generated rows; ids run through them in this order.

    The labels of the transfer rows come along where an arm may see them; these rows then are training rows. Generated
    rows have none, and are there for arms that learn from them.
    """
    seen = Path(job["seen"])
    train = read_rows(seen / "train.safetensors", kind)
    hidden = load_file(Path(job["labels"]) / "transfer.safetensors")["labels"] if unit["reveal_transfer"] else None
    transfer = read_rows(seen / "transfer.safetensors", kind, len(train), hidden)
    none = Rows(kind, [], transfer.labels[:0], transfer.ids[:0])
    wanted = unit.get("generated", False) and (seen / "generated.safetensors").exists()
    generated = read_rows(seen / "generated.safetensors", kind, len(train) + len(transfer)) if wanted else none
    return (train + transfer, none, generated) if unit["reveal_transfer"] else (train, transfer, generated)
