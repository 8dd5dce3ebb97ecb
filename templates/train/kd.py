"""Vanilla distillation: the labels, and the teacher's softened answers to every row, labelled or not.

Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network", section 2.
"""

from transformers import Trainer

from baselines.methods.kd import cross_entropy, distillation


class DistillationTrainer(Trainer):
    def __init__(self, experiment, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method = self.experiment.method
        outputs = model(**self.experiment.model_inputs(inputs))
        task = cross_entropy(outputs.logits, inputs["labels"])
        soft = distillation(outputs.logits, inputs["teacher_logits"], method.temperature)
        loss = (1 - method.alpha) * task + method.alpha * soft
        self.experiment.log(task=task, distillation=soft)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    trainer = DistillationTrainer(
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
