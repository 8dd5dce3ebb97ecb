"""Difference sampling: the student learns, without its teacher, from the texts that the teacher finds likely and a tiny
reference model does not.

loss = cross-entropy of the next token, on the share `ratio` of the texts with the largest
       log p_teacher(text) - log p_reference(text)

Gu et al. 2025, "MiniPLM: Knowledge Distillation for Pre-Training Language Models", arXiv 2410.17215. The reference
model learns from a share of the texts; these are never scored, nor kept.
"""

from transformers import Trainer

from baselines.methods.kd import cross_entropy
from baselines.methods.miniplm import difference_sampled


class LanguageTrainer(Trainer):
    def __init__(self, experiment, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**self.experiment.model_inputs(inputs))
        loss = cross_entropy(outputs.logits, inputs["labels"])
        self.experiment.log(task=loss)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    method = experiment.method
    reference = (method.ref_fraction, method.ref_layers, method.ref_width, method.ref_epochs)
    kept = difference_sampled(experiment, experiment.train_dataset, method.ratio, *reference)
    trainer = LanguageTrainer(
        experiment,
        model=experiment.student,
        args=experiment.training_arguments(),
        train_dataset=kept,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(experiment.student),
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    return trainer.model
