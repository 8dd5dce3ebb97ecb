"""Contrastive distillation: the student's vector of an example is told apart as belonging to the teacher's.

loss = (1 - alpha) * cross-entropy with the labels
     + alpha * T² * KL divergence from the teacher's softened classes
     + beta * noise-contrastive loss against the batch and the examples of recent batches

Tian et al. 2020, "Contrastive Representation Distillation", section 3.1.
"""

from transformers import Trainer

from baselines.methods.crd import Critic, Queue, contrast
from baselines.methods.embedding import embedding, last_pair
from baselines.methods.kd import cross_entropy, distillation
from baselines.methods.selective import features, taps, widths


class ContrastTrainer(Trainer):
    def __init__(self, experiment, pairs, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.student_layers, self.teacher_layers = zip(*pairs, strict=True)
        self.rows = len(self.train_dataset)
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method = self.experiment.method
        outputs = model(**self.experiment.model_inputs(inputs), output_hidden_states=True)
        task = cross_entropy(outputs.logits, inputs["labels"])
        soft = distillation(outputs.logits, inputs["teacher_logits"], method.temperature)
        student = features(self.model, outputs.hidden_states, self.student_layers)
        teacher = self.experiment.teacher.features(inputs, layers=self.teacher_layers)
        others, ids = self.model.queue.push(embedding(teacher[0]), inputs["ids"])
        ours, theirs = self.model.critic(embedding(student[0]), others)
        feature = contrast(ours, theirs, inputs["ids"], ids, self.rows, method.contrast_temperature)
        loss = (1 - method.alpha) * task + method.alpha * soft + method.beta * feature
        self.experiment.log(task=task, distillation=soft, feature=feature)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    student, teacher = experiment.student, experiment.teacher
    pairs = last_pair(len(teacher.widths), len(taps(student)))
    critic = Critic(widths(student)[-1], teacher.widths[-1], experiment.method.contrast_width)
    student.add_module("critic", critic)
    student.add_module("queue", Queue(experiment.method.queue, teacher.widths[-1]))

    trainer = ContrastTrainer(
        experiment,
        pairs,
        model=student,
        args=experiment.training_arguments(),
        train_dataset=experiment.train_dataset + experiment.transfer_dataset,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(student),  # the critic is trained and clipped with the student
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    del student.critic, student.queue
    return student
