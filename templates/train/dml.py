"""Mutual learning: the student and its peers, none of them trained before, learn from the labels and from each other.

loss = sum over student and peers of
       (1 - alpha) * cross-entropy with the labels
     + alpha * T² * KL divergence from the softened classes of the others, averaged over them

Zhang et al. 2018, "Deep Mutual Learning", with all peers updated at once. What remains is the student.
"""

from torch import nn
from transformers import Trainer

from baselines.methods.dml import mutual


class MutualTrainer(Trainer):
    def __init__(self, experiment, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method = self.experiment.method
        given = self.experiment.model_inputs(inputs)
        outputs = model(**given)
        logits = [outputs.logits, *(peer(**given).logits for peer in self.model.peers)]
        task, soft = (terms.sum() for terms in mutual(logits, inputs["labels"], method.temperature))
        loss = (1 - method.alpha) * task + method.alpha * soft
        self.experiment.log(task=task, distillation=soft)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    student = experiment.student
    student.add_module("peers", nn.ModuleList(experiment.peer(n) for n in range(1, experiment.method.peers)))

    trainer = MutualTrainer(
        experiment,
        model=student,
        args=experiment.training_arguments(),
        train_dataset=experiment.train_dataset + experiment.transfer_dataset,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(student),  # the peers are trained and clipped with the student
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    del student.peers
    return student
