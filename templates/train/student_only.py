"""Plain fine-tuning of the student: the file every idea starts from."""

from transformers import Trainer

from baselines.methods.kd import cross_entropy


class StudentTrainer(Trainer):
    def __init__(self, experiment, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**self.experiment.model_inputs(inputs))
        loss = cross_entropy(outputs.logits, inputs["labels"])
        self.experiment.log(task=loss)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    trainer = StudentTrainer(
        experiment,
        model=experiment.student,
        args=experiment.training_arguments(),
        train_dataset=experiment.train_dataset,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(experiment.student),
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    return trainer.model
