"""Tuned distillation: vanilla distillation with the temperature and alpha that did best in short trainings.

loss = (1 - alpha) * cross-entropy with the labels + alpha * T² * KL divergence from the teacher's softened classes

Alballa and Canini 2024, arXiv 2402.14922. Copies of the student are trained for a share of the steps, one for each cell
of a grid, without every fifth labelled row; these choose the cell. The student then starts anew, with all rows.
"""

from transformers import Trainer

from baselines.methods.kd import cross_entropy, distillation
from baselines.methods.tuned import grid, tune


class TunedTrainer(Trainer):
    def __init__(self, experiment, chosen, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.chosen = chosen
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        chosen = self.chosen
        outputs = model(**self.experiment.model_inputs(inputs))
        task = cross_entropy(outputs.logits, inputs["labels"])
        soft = distillation(outputs.logits, inputs["teacher_logits"], chosen.temperature)
        loss = (1 - chosen.alpha) * task + chosen.alpha * soft
        self.experiment.log(task=task, distillation=soft, temperature=chosen.temperature, alpha=chosen.alpha)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    method = experiment.method
    chosen = tune(experiment, grid(method.temperatures, method.alphas), method.tuning)
    experiment.log(**chosen.terms())
    trainer = TunedTrainer(
        experiment,
        chosen,
        model=experiment.student,
        args=experiment.training_arguments(),
        train_dataset=experiment.train_dataset + experiment.transfer_dataset,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(experiment.student),
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    return trainer.model
