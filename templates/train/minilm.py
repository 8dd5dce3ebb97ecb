"""MiniLM: how the tokens of the student's last block relate follows the teacher's last block. For text.

loss = (1 - alpha) * cross-entropy with the labels
     + alpha * T² * KL divergence from the teacher's softened classes
     + beta * KL divergence between the relations of queries, keys and values

Wang et al. 2021, "MiniLMv2: Multi-Head Self-Attention Relation Distillation for Compressing Pretrained Transformers",
section 3.1; with relations "attention", Wang et al. 2020, "MiniLM", sections 3.1 and 3.2.
"""

from transformers import Trainer

from baselines.methods.embedding import last_pair
from baselines.methods.heads import run
from baselines.methods.kd import cross_entropy, distillation
from baselines.methods.minilm import relation_loss
from baselines.methods.selective import taps


class RelationTrainer(Trainer):
    def __init__(self, experiment, pairs, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.student_layers, self.teacher_layers = zip(*pairs, strict=True)
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method, mask = self.experiment.method, inputs["attention_mask"]
        outputs, heads = run(model, self.experiment.model_inputs(inputs), self.student_layers)
        _, teacher_heads = self.experiment.teacher.heads(inputs, layers=self.teacher_layers)
        task = cross_entropy(outputs.logits, inputs["labels"])
        soft = distillation(outputs.logits, inputs["teacher_logits"], method.temperature)
        feature = relation_loss(heads[0], teacher_heads[0], method.relation_heads, mask, method.relations)
        loss = (1 - method.alpha) * task + method.alpha * soft + method.beta * feature
        self.experiment.log(task=task, distillation=soft, feature=feature)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    student, teacher = experiment.student, experiment.teacher
    trainer = RelationTrainer(
        experiment,
        last_pair(len(teacher.widths), len(taps(student))),
        model=student,
        args=experiment.training_arguments(),
        train_dataset=experiment.train_dataset + experiment.transfer_dataset,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(student),
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    return student
