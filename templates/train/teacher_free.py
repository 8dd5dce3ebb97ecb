"""Teacher-free distillation: the teacher is written by hand, always right and never certain.

loss = (1 - alpha) * cross-entropy with the labels
     + alpha * T² * KL divergence from the virtual teacher's softened classes

Yuan et al. 2020, "Revisiting Knowledge Distillation via Label Smoothing Regularization", section 4.
"""

from transformers import Trainer

from baselines.methods.kd import cross_entropy
from baselines.methods.teacher_free import regularisation


class TeacherFreeTrainer(Trainer):
    def __init__(self, experiment, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method = self.experiment.method
        outputs = model(**self.experiment.model_inputs(inputs))
        task = cross_entropy(outputs.logits, inputs["labels"])
        smooth = regularisation(outputs.logits, inputs["labels"], method.temperature, method.correct)
        loss = (1 - method.alpha) * task + method.alpha * smooth
        self.experiment.log(task=task, regularisation=smooth)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    trainer = TeacherFreeTrainer(
        experiment,
        model=experiment.student,
        args=experiment.training_arguments(),
        train_dataset=experiment.train_dataset,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(experiment.student),
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    return trainer.model
