"""Relational distillation: the distances and angles between the examples of a batch, in the last layer.

loss = (1 - alpha) * cross-entropy with the labels
     + alpha * T² * KL divergence from the teacher's softened classes
     + beta * (distance loss + 2 * angle loss)

Park et al. 2019, "Relational Knowledge Distillation", section 3.2.
"""

from transformers import Trainer

from baselines.methods.embedding import embedding, last_pair
from baselines.methods.kd import cross_entropy, distillation
from baselines.methods.rkd import relational
from baselines.methods.selective import features, taps


class RelationalTrainer(Trainer):
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
        feature = relational(embedding(student[0]), embedding(teacher[0]))
        loss = (1 - method.alpha) * task + method.alpha * soft + method.beta * feature
        self.experiment.log(task=task, distillation=soft, feature=feature)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    student, teacher = experiment.student, experiment.teacher
    pairs = last_pair(len(teacher.widths), len(taps(student)))
    trainer = RelationalTrainer(
        experiment,
        pairs,
        model=student,
        args=experiment.training_arguments(),
        train_dataset=experiment.train_dataset + experiment.transfer_dataset,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(student),
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    return student
