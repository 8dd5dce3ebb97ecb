"""DIST: the student keeps the teacher's relations between classes and between rows, not its probabilities.

loss = (1 - alpha) * cross-entropy with the labels + alpha * (inter-class distance + intra-class distance)

Huang et al. 2022, "Knowledge Distillation from A Stronger Teacher", section 4.
"""

from transformers import Trainer

from baselines.methods.dist import relations
from baselines.methods.kd import cross_entropy


class RelationTrainer(Trainer):
    def __init__(self, experiment, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method = self.experiment.method
        outputs = model(**self.experiment.model_inputs(inputs))
        task = cross_entropy(outputs.logits, inputs["labels"])
        between_classes, between_rows = relations(outputs.logits, inputs["teacher_logits"], method.temperature)
        soft = between_classes + between_rows
        loss = (1 - method.alpha) * task + method.alpha * soft
        self.experiment.log(task=task, distillation=soft)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    trainer = RelationTrainer(
        experiment,
        model=experiment.student,
        args=experiment.training_arguments(),
        train_dataset=experiment.train_dataset + experiment.transfer_dataset,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(experiment.student),
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    return trainer.model
