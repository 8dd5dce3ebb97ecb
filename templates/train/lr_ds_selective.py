"""Label revision, data selection and layers: a teacher that is put right, and layers of it that are matched.

Rows to distil: loss = (1 - alpha) * cross-entropy with the label + alpha * T² * KL divergence from the revised answer
Other rows:     loss = cross-entropy with the label
All rows:       + beta * distance between the chosen layers of teacher and student

Lan et al. 2024, arXiv 2404.03693, changes what is imitated and where; the layers are a term of their own, on every row.
"""

from transformers import Trainer

from baselines.methods.influence import keep
from baselines.methods.kd import cross_entropy
from baselines.methods.lr_ds import revised, selected_distillation
from baselines.methods.selective import Projections, feature_loss, features, layer_pairs, spatial, taps, widths


class RevisingTrainer(Trainer):
    def __init__(self, experiment, kept, pairs, **kwargs):
        super().__init__(**kwargs)
        self.experiment, self.kept = experiment, kept.to(self.args.device)
        self.student_layers, self.teacher_layers = zip(*pairs, strict=True)
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method, labels = self.experiment.method, inputs["labels"]
        outputs = model(**self.experiment.model_inputs(inputs), output_hidden_states=True)
        task = cross_entropy(outputs.logits, labels)
        answers = revised(inputs["teacher_logits"], labels, method.revision, method.revise)
        kept = self.kept[inputs["ids"]]
        soft, rest = selected_distillation(outputs.logits, answers, labels, kept, method.temperature)
        student = features(self.model, outputs.hidden_states, self.student_layers)
        teacher = self.experiment.teacher.features(inputs, layers=self.teacher_layers)
        feature = feature_loss(student, teacher, self.model.projections, inputs.get("attention_mask"), method.norm)
        loss = (1 - method.alpha) * task + method.alpha * (soft + rest) + method.beta * feature
        self.experiment.log(task=task, distillation=soft, unselected=rest, feature=feature)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    student, teacher, method = experiment.student, experiment.teacher, experiment.method
    depths, critical = (len(teacher.widths), len(taps(student))), teacher.critical(method.layers)
    pairs = layer_pairs(method.layer_map, *depths, method.layers, critical)
    experiment.log(**{f"teacher_layer_of_{ours}": theirs for ours, theirs in pairs})
    student_widths = [widths(student)[layer - 1] for layer, _ in pairs]
    teacher_widths = [teacher.widths[layer - 1] for _, layer in pairs]
    student.add_module("projections", Projections(student_widths, teacher_widths, spatial(student)))
    rows = experiment.train_dataset + experiment.transfer_dataset

    trainer = RevisingTrainer(
        experiment,
        keep(experiment, rows, method.selector, method.keep_ratio, method.ridge),
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
