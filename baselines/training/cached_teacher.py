"""Teachers: their weights, and their cached outputs for every training row.

A teacher folder has `teacher.json`, `config.json`, `weights.safetensors`, `logits.safetensors` and, per cached block,
one `features-<i>.safetensors` (1-based, stages for CNNs), rows in the order train, transfer, generated, and of images
with several views all rows view after view; of a language model `likelihoods.safetensors` in place of the logits, which
would be larger than the model; where a plan asked for it, `critical.json`, what each block is worth; where a plan has
several teachers, the others lie in `teacher-<n>` below it, the same but for features. Nothing of a teacher is
trained by a student's trial.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from baselines.data import augmented_views
from baselines.methods.critical import most_critical
from baselines.methods.heads import Heads, run
from baselines.models.build import from_config
from baselines.models.by_length import in_parts
from baselines.models.device import DEVICE
from baselines.models.fingerprint import fingerprint
from baselines.models.inputs import accepted
from baselines.models.layers import taps
from baselines.training.trace import Gradients

SCORES = "critical.json"
WATCH_EVERY = 10  # calls; a gradient of features costs as much as the features


class Teacher:
    """A frozen teacher as a trial sees it: outputs from the cache where they are there, from the model where not.

    `ablate` names one of its outputs, "logits", "likelihoods" or "features-<layer>": each row then gets that output of
    another row, or of another place.
    Training that does not change by it does not use it.
    """

    def __init__(self, folder: str, task: dict, ablate: str = "") -> None:
        self.folder, self.task, self.ablate = Path(folder), task, ablate
        self.facts = json.loads((self.folder / "teacher.json").read_text())
        name = cached(task)
        answers = self._shuffled(name, load_file(self.folder / f"{name}.safetensors")[name])
        self.logits, self.likelihoods = (answers, None) if name == "logits" else (None, answers)
        self.widths = tuple(self.facts["widths"])
        self.forwards = self.calls = 0
        self.cached_reads = 0
        self.watched = {"logits": Gradients(), "features": Gradients()}
        self._features: dict[int, dict[str, torch.Tensor]] = {}
        self._several: dict[tuple[torch.device, int], torch.Tensor] = {}
        self._model: nn.Module | None = None

    def answers(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The logits [B, C] of a batch's rows; of a language model those [N, C] at its places, made on the spot and
        left there: they are many."""
        if self.logits is not None:
            return self.watched["logits"].watch(self.logits[self._places(batch["ids"], batch.get("views"))])
        model = self.model().to(DEVICE)
        with torch.no_grad():
            output = model(**{name: value.to(DEVICE) for name, value in accepted(model, batch).items()})
        return output.logits

    def several(self, ids: torch.Tensor, count: int, shown: torch.Tensor | None = None) -> torch.Tensor:
        """The logits [N, B, C] of the first `count` teachers; of images `shown` in these views [B], or as they are.

        Raises FileNotFoundError where fewer were trained."""
        if (ids.device, count) not in self._several:
            others = (load_file(place(self.folder, n) / "logits.safetensors")["logits"] for n in range(1, count))
            every = [self.logits, *(self._shuffled("logits", logits) for logits in others)]
            self._several[ids.device, count] = torch.stack(every).to(ids.device)
        return self.watched["logits"].watch(self._several[ids.device, count][:, self._places(ids, shown)])

    def _places(self, ids: torch.Tensor, shown: torch.Tensor | None) -> torch.Tensor:
        """Where the answers to these rows, in these views, are kept."""
        return ids if shown is None else shown * (len(self.logits) // augmented_views.count(self.task)) + ids

    def critical(self, count: int) -> tuple[int, ...]:
        """The blocks, `count` of them, that cost the teacher most when they are left out; () where that was not
        measured."""
        return most_critical(scores(self.folder), count)

    def gradients(self) -> dict:
        """How each kind of answer was used in the backward passes."""
        return {name: watched.facts() for name, watched in self.watched.items()}

    def model(self) -> nn.Module:
        """The frozen teacher itself, in eval mode. Its forwards are counted."""
        if self._model is None:
            with torch.random.fork_rng():  # building a model draws random weights; the trial's own draws must not move
                self._model = in_parts(load(self.folder))
            self._model.register_forward_pre_hook(self._count)
            self._model.register_forward_hook(self._shuffle_outputs)
        return self._model

    def features(self, inputs: dict, layers: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        """Outputs of those blocks for this batch: [B, L, width] states, or [B, C, H, W] maps. Never with a gradient."""
        if all((self.folder / f"features-{layer}.safetensors").exists() for layer in layers):
            self.cached_reads += 1
            found = tuple(self._shuffled(f"features-{layer}", self._cached(inputs, layer)) for layer in layers)
        else:
            found = self._online(inputs, layers)
        self.calls += 1
        return tuple(map(self.watched["features"].watch, found)) if self.calls % WATCH_EVERY == 0 else found

    def heads(self, inputs: dict, layers: tuple[int, ...]) -> tuple[tuple[torch.Tensor, ...], tuple[Heads, ...]]:
        """(hidden states from the embedding on, the Heads of those blocks): never cached, so it costs a forward."""
        model = self.model().to(inputs["ids"].device)
        with torch.no_grad():
            output, found = run(model, accepted(model, inputs), layers)
        found = tuple(
            Heads(*(self._shuffled(f"features-{layer}", side) for side in heads[:3]), heads.count)
            for layer, heads in zip(layers, found, strict=True)
        )
        self.calls += 1
        if self.calls % WATCH_EVERY == 0:
            watch = self.watched["features"].watch
            found = tuple(Heads(*map(watch, heads[:3]), heads.count) for heads in found)
        return output.hidden_states, found

    def _cached(self, inputs: dict, layer: int) -> torch.Tensor:
        """Kept where the batch is: to be told of its ids elsewhere would have each step wait for the card."""
        ids = inputs["ids"]
        if layer not in self._features:
            kept = load_file(self.folder / f"features-{layer}.safetensors")
            self._features[layer] = {name: value.to(ids.device) for name, value in kept.items()}
        stored = self._features[layer]
        if "offsets" not in stored:
            return stored["values"][self._places(ids, inputs.get("views"))]
        mask = inputs["attention_mask"]
        place = stored["offsets"][ids][:, None] + torch.arange(mask.shape[1], device=mask.device)
        return stored["values"][place.clamp_(max=len(stored["values"]) - 1)] * mask[..., None]

    def _online(self, inputs: dict, layers: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        model = self.model().to(inputs["ids"].device)
        ends = taps(model)
        with torch.no_grad():  # not inference_mode: its tensors cannot be saved for a student's backward pass
            states = model(**accepted(model, inputs), output_hidden_states=True).hidden_states
        return tuple(states[ends[layer - 1]] for layer in layers)

    def _shuffled(self, output: str, values: torch.Tensor) -> torch.Tensor:
        return values.roll(1, dims=0) if self.ablate and output == self.ablate else values

    def _shuffle_outputs(self, module: nn.Module, args, output) -> None:
        output.logits = self.watched["logits"].watch(self._shuffled("logits", output.logits))
        if output.hidden_states is not None:
            names = {tap: f"features-{layer}" for layer, tap in enumerate(taps(module), 1)}
            states = enumerate(output.hidden_states)
            output.hidden_states = tuple(self._shuffled(names.get(place, ""), state) for place, state in states)

    def _count(self, module: nn.Module, args) -> None:
        self.forwards += 1

    def uses(self) -> dict:
        """Forwards of the model, reads of the cache, and the weights' hash as it is now."""
        weights = fingerprint(self._model) if self._model else self.facts["fingerprint"]
        return {"forwards": self.forwards, "feature_reads": self.cached_reads, "weights": weights}


def cached(task: dict) -> str:
    """What is kept of a teacher for every row: its logits [C], or of a language model the row's log-likelihood, the
    mean over its tokens in nats."""
    return "likelihoods" if task["kind"] == "language" else "logits"


def place(folder: Path, number: int) -> Path:
    """The folder of the teacher of that number: the first in the folder itself, the others below it."""
    return folder / f"teacher-{number}" if number else folder


def scores(folder: Path) -> tuple[float, ...]:
    """What the loss on dev rows rises by, in nats, without each of the teacher's blocks; () where a plan asked for
    none of it."""
    file = folder / SCORES
    return tuple(json.loads(file.read_text())["scores"]) if file.exists() else ()


def load(folder: Path) -> nn.Module:
    """The teacher's weights in the planned architecture: eval mode, no gradients."""
    facts = json.loads((folder / "teacher.json").read_text())
    model = from_config(folder, facts["spec"])
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    return model.eval().requires_grad_(False)
