"""Decoupled distillation: what the teacher says of the target class, and of the others with a weight of its own.

loss = (1 - alpha) * cross-entropy with the labels + alpha * (TCKD + beta * NCKD)

Zhao et al. 2022, "Decoupled Knowledge Distillation", equation 8. Where a row has no label, the teacher's most likely
class is the target.
"""

from transformers import Trainer

from baselines.methods.dkd import decoupled
from baselines.methods.kd import cross_entropy, pseudo_labels


class DecoupledTrainer(Trainer):
    def __init__(self, experiment, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method = self.experiment.method
        outputs = model(**self.experiment.model_inputs(inputs))
        task = cross_entropy(outputs.logits, inputs["labels"])
        classes = pseudo_labels(inputs["labels"], inputs["teacher_logits"])
        target, others = decoupled(outputs.logits, inputs["teacher_logits"], classes, method.temperature)
        soft = target + method.beta * others
        loss = (1 - method.alpha) * task + method.alpha * soft
        self.experiment.log(task=task, distillation=soft)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    trainer = DecoupledTrainer(
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
