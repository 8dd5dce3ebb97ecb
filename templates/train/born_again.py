"""Born-again networks: a line of models of the student's size, each of which learns from the one before.

loss = (1 - alpha) * cross-entropy with the labels
     + alpha * T² * KL divergence from the softened classes of the generation before

Furlanello et al. 2018, "Born Again Neural Networks". The first generation has the labels alone. Each starts from new
weights and takes all the planned steps; the student is the last one, and what remains.
"""

from transformers import Trainer

from baselines.methods.generations import predecessor
from baselines.methods.kd import cross_entropy, distillation


class BornAgainTrainer(Trainer):
    def __init__(self, experiment, before, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.before = before
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method = self.experiment.method
        outputs = model(**self.experiment.model_inputs(inputs))
        task = cross_entropy(outputs.logits, inputs["labels"])
        soft = distillation(outputs.logits, self.before[inputs["ids"]], method.temperature)
        loss = (1 - method.alpha) * task + method.alpha * soft
        self.experiment.log(task=task, distillation=soft)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    method = experiment.method
    trainer = BornAgainTrainer(
        experiment,
        predecessor(experiment, method.generations, method.temperature, method.alpha),
        model=experiment.student,
        args=experiment.training_arguments(),
        train_dataset=experiment.train_dataset + experiment.transfer_dataset,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(experiment.student),
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    return trainer.model
