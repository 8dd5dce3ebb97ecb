"""Attention transfer: the student looks where the teacher looks, in maps of the chosen layers. For images.

loss = (1 - alpha) * cross-entropy with the labels
     + alpha * T² * KL divergence from the teacher's softened classes
     + beta * mean squared difference of the attention maps

Zagoruyko and Komodakis 2017, "Paying More Attention to Attention", equation 2.
"""

from transformers import Trainer

from baselines.methods.attention import attention_transfer
from baselines.methods.kd import cross_entropy, distillation
from baselines.methods.selective import features, layer_pairs, taps


class AttentionTrainer(Trainer):
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
        feature = attention_transfer(student, teacher, method.min_map_size)
        loss = (1 - method.alpha) * task + method.alpha * soft + method.beta * feature
        self.experiment.log(task=task, distillation=soft, feature=feature)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    student, teacher, method = experiment.student, experiment.teacher, experiment.method
    pairs = layer_pairs(method.layer_map, len(teacher.widths), len(taps(student)), method.layers)
    trainer = AttentionTrainer(
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
