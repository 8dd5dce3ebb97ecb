"""Data-partition distillation: each row is taught by whoever is surer of it, the teacher or the student from before.

First steps: loss = cross-entropy with the labels
Then:        loss = T² * KL divergence from the softened classes of the teacher, or of a copy of the student that is
             frozen when the first steps end

Alballa and Canini 2024, arXiv 2402.14922. Theirs is a student that is trained already, so head_start is 0; a student
that is not gets that share of the steps to learn something of its own.
"""

from transformers import Trainer

from baselines.methods.dpkd import Frozen, partitioned
from baselines.methods.kd import cross_entropy, distillation


class PartitionTrainer(Trainer):
    def __init__(self, experiment, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.first_steps = round(experiment.method.head_start * experiment.steps)
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method, step = self.experiment.method, self.state.global_step
        given = self.experiment.model_inputs(inputs)
        if step == self.first_steps:
            self.model.before.take(self.model)
        outputs = model(**given)
        if step < self.first_steps:
            loss = cross_entropy(outputs.logits, inputs["labels"])
            self.experiment.log(task=loss)
        else:
            before = self.model.before.logits(**given)
            target = partitioned(inputs["teacher_logits"], before, inputs["labels"], method.partition)
            loss = distillation(outputs.logits, target, method.temperature)
            self.experiment.log(distillation=loss)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    student = experiment.student
    student.add_module("before", Frozen(student))  # in the student, so that checkpoints hold it

    trainer = PartitionTrainer(
        experiment,
        model=student,
        args=experiment.training_arguments(),
        train_dataset=experiment.train_dataset + experiment.transfer_dataset,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(student),
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    del student.before
    return student
