"""Soft labels without a teacher: how much classes look alike, to an autoencoder or in words, softens each label.

loss = (1 - alpha) * cross-entropy with the labels + alpha * T² * KL divergence from the label's row of a table

Doshi and Kim 2024, "ReffAKD: Resource-efficient Autoencoder-based Knowledge Distillation". The table [C, C] is made
once, of the labelled training rows: softmax over the mean cosines between classes, divided by tau.
"""

from transformers import Trainer

from baselines.methods.kd import cross_entropy
from baselines.methods.reffakd import class_distillation, class_table


class TableTrainer(Trainer):
    def __init__(self, experiment, table, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.table = table.to(self.args.device)
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method = self.experiment.method
        outputs = model(**self.experiment.model_inputs(inputs))
        task = cross_entropy(outputs.logits, inputs["labels"])
        soft = class_distillation(outputs.logits, inputs["labels"], self.table, method.temperature)
        loss = (1 - method.alpha) * task + method.alpha * soft
        self.experiment.log(task=task, distillation=soft)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    method, rows, classes = experiment.method, experiment.train_dataset, len(experiment.task["labels"])
    table = class_table(rows, classes, method.samples_per_class, method.boost, method.tau, experiment.seed)
    trainer = TableTrainer(
        experiment,
        table,
        model=experiment.student,
        args=experiment.training_arguments(),
        train_dataset=rows,  # transfer rows have no label to soften
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(experiment.student),
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    return trainer.model
