"""The generations before a born-again student, each trained in full, one after another, before the student is."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from baselines.data.collator import Collator
from baselines.data.rows import Rows
from baselines.methods.born_again import teacher_of
from baselines.methods.kd import cross_entropy, distillation


def predecessor(experiment, generations: int, temperature: float, alpha: float) -> Tensor:
    """Logits [N, C] of the generation that teaches the student, the last of `generations`; rows by id.

    Each generation has weights of its own and takes the student's planned steps with the planned optimizer: the first
    with the labelled rows alone, as the student of the arm student_only does, the others as the student. Their updates,
    which come on top of the student's, and the loss that each ended with are logged. The student and the trial's own
    random numbers stay as they are.
    """
    rows, answers = experiment.train_dataset + experiment.transfer_dataset, None
    with torch.random.fork_rng():
        for number in range(generations - 1):
            taught = teacher_of(number) is not None
            model = experiment.peer(number + 1).to(experiment.training_arguments().device)
            torch.manual_seed(experiment.seed + number)
            batches = _batches(experiment, rows if taught else experiment.train_dataset, number)
            loss = _train(experiment, model, batches, answers, temperature, alpha)
            answers = _answers(experiment, model, rows)
            experiment.log(**{f"generation_{number}_loss": loss})
    experiment.log(earlier_updates=(generations - 1) * experiment.steps)
    return answers


def _train(experiment, model: nn.Module, batches: Iterator[dict], answers, temperature: float, alpha: float) -> float:
    """Trains a generation; the mean loss of its last quarter."""
    arguments, losses = experiment.training_arguments(), []
    optimizer, schedule = experiment.optimizer(model.train())
    for _ in range(experiment.steps):
        optimizer.zero_grad()
        for _ in range(arguments.gradient_accumulation_steps):
            batch = next(batches)
            logits = _logits(experiment, model, batch)
            loss = cross_entropy(logits, batch["labels"])
            if answers is not None:
                soft = distillation(logits, answers[batch["ids"]], temperature)
                loss = (1 - alpha) * loss + alpha * soft
            (loss / arguments.gradient_accumulation_steps).backward()
            losses.append(loss.detach())
        nn.utils.clip_grad_norm_(model.parameters(), arguments.max_grad_norm)
        optimizer.step()
        schedule.step()
    return float(torch.stack(losses[-max(1, len(losses) // 4) :]).mean())


def _batches(experiment, rows: Rows, number: int) -> Iterator[dict]:
    """Full batches without end, each row once before any comes again."""
    arguments, order = experiment.training_arguments(), list[int]()
    generator, size = torch.Generator().manual_seed(experiment.seed + number), arguments.per_device_train_batch_size
    while True:
        while len(order) < size:
            order += torch.randperm(len(rows), generator=generator).tolist()
        yield _batch(experiment, rows, order[:size])
        order = order[size:]


@torch.no_grad()
def _answers(experiment, model: nn.Module, rows: Rows) -> Tensor:
    """[N, C] in fp32."""
    size, model = experiment.training_arguments().per_device_train_batch_size, model.eval()
    places = torch.arange(len(rows)).split(size)
    parts = (_logits(experiment, model, _batch(experiment, rows, part.tolist())) for part in places)
    return torch.cat([part.float() for part in parts])


def _batch(experiment, rows: Rows, places: list[int]) -> dict[str, Tensor]:
    batch = Collator(experiment.task)([rows[place] for place in places])
    return {name: value.to(experiment.training_arguments().device) for name, value in batch.items()}


def _logits(experiment, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    arguments = experiment.training_arguments()
    with torch.autocast(arguments.device.type, torch.bfloat16, enabled=arguments.bf16):
        return model(**experiment.model_inputs(batch)).logits
