"""A generated transfer set: the labels where there are any, and by mean squared error the teacher's logits for every
row, those included that a language model wrote.

After Tang et al. 2019, "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks", sections 3.2, 3.3.
The rows were generated when the data were prepared; here they are transfer rows like others.
"""

from transformers import Trainer

from baselines.methods.genset import distance
from baselines.methods.kd import cross_entropy


class GeneratedSetTrainer(Trainer):
    def __init__(self, experiment, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method = self.experiment.method
        outputs = model(**self.experiment.model_inputs(inputs))
        task = cross_entropy(outputs.logits, inputs["labels"])
        soft = distance(outputs.logits, inputs["teacher_logits"])
        loss = (1 - method.alpha) * task + method.alpha * soft
        self.experiment.log(task=task, distillation=soft)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    trainer = GeneratedSetTrainer(
        experiment,
        model=experiment.student,
        args=experiment.training_arguments(),
        train_dataset=experiment.train_dataset + experiment.transfer_dataset,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(experiment.student),
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    return trainer.model
