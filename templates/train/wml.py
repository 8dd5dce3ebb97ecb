"""Weighted mutual learning: the student and its peers learn from the labels and from each other, and each counts as
much as it helps their ensemble on labelled rows that none of them is trained on.

loss = (1 - alpha) * sum over k of weight k * cross-entropy of k with the labels
     + alpha * sum over k of weight k * T² * KL divergence of every other one from the softened classes of k

Iyer 2024, "When Babies Teach Babies". The weights step down the ensemble's loss by its exact gradient through one
training step, for which the current learning rate stands in where the optimizer is not plain. What remains is the
student.
"""

from torch import nn
from transformers import Trainer

from baselines.methods.search import peers as made_peers
from baselines.methods.wml import Balance, Held, effective_peers, outer_gradient, peer_terms, without


class WeightedTrainer(Trainer):
    def __init__(self, experiment, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates
        if self.model.balance.outer != "fixed":
            self.held = Held(experiment.train_dataset, experiment.task, self.args.train_batch_size)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method, balance = self.experiment.method, self.model.balance
        given, labels = self.experiment.model_inputs(inputs), inputs["labels"]
        left_out = Held.among(inputs["ids"], labels) & (balance.outer != "fixed")
        if balance.due(self.state.global_step):
            self.move_weights((given, labels, left_out))
        outputs = model(**given)
        logits = [outputs.logits, *(peer(**given).logits for peer in self.model.peers)]
        terms = peer_terms(*without(left_out, logits, labels), method.temperature)
        task, soft = (balance.weights @ term for term in terms)
        loss = (1 - method.alpha) * task + method.alpha * soft
        self.experiment.log(task=task, distillation=soft, effective_peers=effective_peers(balance.weights))
        self.experiment.log(**{f"omega_{place}": weight for place, weight in enumerate(balance.weights.clone())})
        return (loss, outputs) if return_outputs else loss

    def move_weights(self, batch):
        method, balance, step = self.experiment.method, self.model.balance, self.state.global_step
        rows = self.held.batch(step // method.update_every)
        if rows["labels"].unique().numel() == 1:
            return  # rows of one class do not say who tells classes apart
        rows = self._prepare_inputs(rows)
        held = self.experiment.model_inputs(rows), rows["labels"]
        rate = self.lr_scheduler.get_last_lr()[0]
        peers = [self.model, *self.model.peers]
        balance.move(outer_gradient(peers, batch, held, balance, rate, method.alpha, method.temperature), step)


def train(experiment):
    student, method = experiment.student, experiment.method
    peers = nn.ModuleList(made_peers(experiment, method.peers, method.peer_sizes))
    balance = Balance(method.peers, method.outer, method.eta, method.update_every, method.weight_floor)
    student.add_module("peers", peers)
    student.add_module("balance", balance)

    trainer = WeightedTrainer(
        experiment,
        model=student,
        args=experiment.training_arguments(),
        train_dataset=experiment.train_dataset + experiment.transfer_dataset,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(student),  # the peers are trained and clipped with the student
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    del student.peers, student.balance
    return student
