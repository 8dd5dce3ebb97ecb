"""Hints: the layer in the student's middle learns to predict the one in the teacher's middle.

loss = (1 - alpha) * cross-entropy with the labels
     + alpha * T² * KL divergence from the teacher's softened classes
     + beta * mean squared error of the regressed features

Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", equation 3, with both of its stages at once.
"""

from transformers import Trainer

from baselines.methods.hints import hint_loss, middle_pair
from baselines.methods.kd import cross_entropy, distillation
from baselines.methods.selective import Projections, features, spatial, taps, widths


class HintTrainer(Trainer):
    def __init__(self, experiment, pairs, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.student_layers, self.teacher_layers = zip(*pairs, strict=True)
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method = self.experiment.method
        outputs = model(**self.experiment.model_inputs(inputs), output_hidden_states=True)
        task = cross_entropy(outputs.logits, inputs["labels"])
        soft = distillation(outputs.logits, inputs["teacher_logits"], method.temperature)
        student = features(self.model, outputs.hidden_states, self.student_layers)
        teacher = self.experiment.teacher.features(inputs, layers=self.teacher_layers)
        feature = hint_loss(student, teacher, self.model.regressors, inputs.get("attention_mask"))
        loss = (1 - method.alpha) * task + method.alpha * soft + method.beta * feature
        self.experiment.log(task=task, distillation=soft, feature=feature)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    student, teacher = experiment.student, experiment.teacher
    pairs = middle_pair(len(teacher.widths), len(taps(student)))
    student_widths = [widths(student)[layer - 1] for layer, _ in pairs]
    teacher_widths = [teacher.widths[layer - 1] for _, layer in pairs]
    student.add_module("regressors", Projections(student_widths, teacher_widths, spatial(student)))

    trainer = HintTrainer(
        experiment,
        pairs,
        model=student,
        args=experiment.training_arguments(),
        train_dataset=experiment.train_dataset + experiment.transfer_dataset,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(student),  # the regressors are trained and clipped with the student
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    del student.regressors
    return student
