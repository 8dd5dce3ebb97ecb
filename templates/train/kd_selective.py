"""Distillation from the teacher's logits and chosen layers of it, the same for text and images.

loss = (1 - alpha) * cross-entropy with the labels
     + alpha * T² * KL divergence from the teacher's softened classes
     + beta * distance between the chosen layers of teacher and student
"""

from transformers import Trainer

from baselines.methods.attention import attention_transfer
from baselines.methods.crd import Contrast
from baselines.methods.kd import cross_entropy, distillation
from baselines.methods.rkd import relation_loss
from baselines.methods.selective import (
    Projections,
    cls_loss,
    cosine_loss,
    feature_loss,
    features,
    init_from_teacher,
    layer_pairs,
    spatial,
    taps,
    widths,
)


class SelectiveTrainer(Trainer):
    def __init__(self, experiment, pairs, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.student_layers, self.teacher_layers = zip(*pairs, strict=True)
        self.beta = experiment.method.beta
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method = self.experiment.method
        outputs = model(**self.experiment.model_inputs(inputs), output_hidden_states=True)
        task = cross_entropy(outputs.logits, inputs["labels"])
        distilled = distillation(outputs.logits, inputs["teacher_logits"], method.temperature)
        feature = self.feature_term(outputs.hidden_states, inputs)
        loss = (1 - method.alpha) * task + method.alpha * distilled + self.beta * feature
        self.experiment.log(task=task, distillation=distilled, feature=feature)
        return (loss, outputs) if return_outputs else loss

    def feature_term(self, hidden_states, inputs):
        method, projections, mask = self.experiment.method, self.model.projections, inputs.get("attention_mask")
        student = features(self.model, hidden_states, self.student_layers)
        teacher = self.experiment.teacher.features(inputs, layers=self.teacher_layers)
        match method.signal:
            case "hidden":
                return feature_loss(student, teacher, projections, mask, method.norm)
            case "cls":
                return cls_loss(student, teacher, projections)
            case "cos":
                return cosine_loss(student, teacher, projections, mask)
            case "attention":
                return attention_transfer(student, teacher, method.min_map_size)
            case "relation":
                return relation_loss(student, teacher)
            case "crd":
                return projections(student, teacher, inputs["ids"], method.contrast_temperature)
        raise ValueError(f"unknown signal {method.signal!r}")


def train(experiment):
    student, teacher, method = experiment.student, experiment.teacher, experiment.method
    if method.init_layers != "none":
        init_from_teacher(student, teacher.model(), method.init_layers)
    depths, critical = (len(teacher.widths), len(taps(student))), teacher.critical(method.layers)
    pairs = layer_pairs(method.layer_map, *depths, method.layers, critical)
    experiment.log(**{f"teacher_layer_of_{ours}": theirs for ours, theirs in pairs})
    rows = experiment.train_dataset + experiment.transfer_dataset
    student_widths = [widths(student)[layer - 1] for layer, _ in pairs]
    teacher_widths = [teacher.widths[layer - 1] for _, layer in pairs]
    projections = Projections(student_widths, teacher_widths, spatial(student))
    if method.signal == "crd":
        projections = Contrast(student_widths, teacher_widths, method.contrast_width, method.queue, len(rows))
    student.add_module("projections", projections)

    trainer = SelectiveTrainer(
        experiment,
        pairs,
        model=student,
        args=experiment.training_arguments(),
        train_dataset=rows,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(student),  # the projections are trained and clipped with the student
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    del student.projections
    return student
