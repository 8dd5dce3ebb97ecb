"""Two-stage multi-teacher distillation: a soft head for each teacher on the student's encoder.

stage 1: loss = mean over teachers of the squared difference between soft logits and teacher logits
stage 2: loss = (1 - alpha) * cross-entropy with the labels + alpha * the same difference

The golden head is the student's own classifier; it learns in stage 2 and is what remains. Logits that spread widely are
standardised.
Yang et al. 2020, "Model Compression with Two-stage Multi-teacher Knowledge Distillation for Web Question Answering".
"""

import torch
from transformers import Trainer

from baselines.methods.embedding import embedding
from baselines.methods.kd import cross_entropy
from baselines.methods.selective import widths
from baselines.methods.tmkd import SoftHeads, objective, refuse_several_students, scale, soft_loss, targets


class TwoStageTrainer(Trainer):
    def __init__(self, experiment, scale, **kwargs):
        super().__init__(**kwargs)
        self.experiment, self.scale = experiment, scale.to(self.args.device)
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method = self.experiment.method
        stage = 1 if self.state.global_step < method.stage_one * self.state.max_steps else 2
        outputs = model(**self.experiment.model_inputs(inputs), output_hidden_states=True)
        task = cross_entropy(outputs.logits, inputs["labels"])
        answers = self.scale.apply(self.experiment.teacher.several(inputs["ids"], method.teachers, inputs.get("views")))
        soft_logits = self.model.soft_heads(embedding(outputs.hidden_states[-1]))
        soft = soft_loss(soft_logits, targets(answers, method.mode))
        loss = objective(task, soft, method.alpha, stage)
        self.experiment.log(task=task, distillation=soft)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    student, method = experiment.student, experiment.method
    rows = experiment.train_dataset + experiment.transfer_dataset
    answers = experiment.teacher.several(torch.arange(len(rows)), method.teachers)
    refuse_several_students(method.mode, len(answers))
    heads = len(targets(answers, method.mode))
    student.add_module("soft_heads", SoftHeads(widths(student)[-1], answers.shape[-1], heads))

    trainer = TwoStageTrainer(
        experiment,
        scale(answers),
        model=student,
        args=experiment.training_arguments(),
        train_dataset=rows,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(student),  # the soft heads are trained and clipped with the student
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    del student.soft_heads
    return student
