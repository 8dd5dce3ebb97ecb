"""Logit matching: the labels, and by squared error the teacher's logits for every row, labelled or not.

Ba and Caruana 2014, "Do Deep Nets Really Need to be Deep?", section 2.2.
"""

from transformers import Trainer

from baselines.methods.kd import cross_entropy
from baselines.methods.logit_mse import squared_error


class LogitTrainer(Trainer):
    def __init__(self, experiment, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method = self.experiment.method
        outputs = model(**self.experiment.model_inputs(inputs))
        task = cross_entropy(outputs.logits, inputs["labels"])
        soft = squared_error(outputs.logits, inputs["teacher_logits"], method.centred)
        loss = (1 - method.alpha) * task + method.alpha * soft
        self.experiment.log(task=task, distillation=soft)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    trainer = LogitTrainer(
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
