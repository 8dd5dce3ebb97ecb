"""Distillation of standardised logits: the order and spacing of the classes count, their range does not.

loss = (1 - alpha) * cross-entropy with the labels + alpha * T² * KL divergence of the standardised logits

Sun et al. 2024, "Logit Standardization in Knowledge Distillation", algorithm 2.
"""

from transformers import Trainer

from baselines.methods.kd import cross_entropy
from baselines.methods.standardised import standardised_distillation


class StandardisedTrainer(Trainer):
    def __init__(self, experiment, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method = self.experiment.method
        outputs = model(**self.experiment.model_inputs(inputs))
        task = cross_entropy(outputs.logits, inputs["labels"])
        soft = standardised_distillation(outputs.logits, inputs["teacher_logits"], method.temperature)
        loss = (1 - method.alpha) * task + method.alpha * soft
        self.experiment.log(task=task, distillation=soft)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    trainer = StandardisedTrainer(
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
