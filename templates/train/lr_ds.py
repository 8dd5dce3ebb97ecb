"""Label revision and data selection: a teacher's wrong answers are put right, and some rows are left to their labels.

Rows to distil: loss = (1 - alpha) * cross-entropy with the label + alpha * T² * KL divergence from the revised answer
Other rows:     loss = cross-entropy with the label

Lan et al. 2024, arXiv 2404.03693. Where the teacher is wrong its answer is mixed with the label until that leads by
1 - revision. The rows to distil harm a linear probe of the teacher's last layer least; what harms it is measured on
every fifth labelled row, and these are trained on all the same.
"""

from transformers import Trainer

from baselines.methods.influence import keep
from baselines.methods.kd import cross_entropy
from baselines.methods.lr_ds import revised, selected_distillation


class RevisingTrainer(Trainer):
    def __init__(self, experiment, kept, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.kept = kept.to(self.args.device)
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method, labels = self.experiment.method, inputs["labels"]
        outputs = model(**self.experiment.model_inputs(inputs))
        task = cross_entropy(outputs.logits, labels)
        answers = revised(inputs["teacher_logits"], labels, method.revision, method.revise)
        kept = self.kept[inputs["ids"]]
        soft, rest = selected_distillation(outputs.logits, answers, labels, kept, method.temperature)
        loss = (1 - method.alpha) * task + method.alpha * (soft + rest)
        self.experiment.log(task=task, distillation=soft, unselected=rest)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    method, rows = experiment.method, experiment.train_dataset + experiment.transfer_dataset
    trainer = RevisingTrainer(
        experiment,
        keep(experiment, rows, method.selector, method.keep_ratio, method.ridge),
        model=experiment.student,
        args=experiment.training_arguments(),
        train_dataset=rows,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(experiment.student),
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    return trainer.model
