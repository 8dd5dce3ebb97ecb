"""TinyBERT: embeddings, states and attention scores of the chosen layers follow the teacher's. For text.

loss = (1 - alpha) * cross-entropy with the labels
     + alpha * T² * KL divergence from the teacher's softened classes
     + beta * (mean squared error of the states + mean squared error of the attention scores, summed over the layers)

Jiao et al. 2020, "TinyBERT: Distilling BERT for Natural Language Understanding", equations 7 to 11, with both of its
stages at once.
"""

from transformers import Trainer

from baselines.methods.heads import run
from baselines.methods.kd import cross_entropy, distillation
from baselines.methods.selective import Projections, features, layer_pairs, taps, widths
from baselines.methods.tinybert import hidden_loss, score_loss


class TinyBertTrainer(Trainer):
    def __init__(self, experiment, pairs, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.student_layers, self.teacher_layers = zip(*pairs, strict=True)
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: Trainer must divide it when it accumulates

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method, text = self.experiment.method, self.experiment.model_inputs(inputs)
        outputs, heads = run(model, text, self.student_layers)
        theirs, teacher_heads = self.experiment.teacher.heads(inputs, layers=self.teacher_layers)
        task = cross_entropy(outputs.logits, inputs["labels"])
        soft = distillation(outputs.logits, inputs["teacher_logits"], method.temperature)
        student_states = features(self.model, outputs.hidden_states, self.student_layers)
        teacher_states = tuple(theirs[layer] for layer in self.teacher_layers)  # 0 is the embedding
        feature = score_loss(heads, teacher_heads, text["attention_mask"]) + hidden_loss(
            (outputs.hidden_states[0], *student_states),
            (theirs[0], *teacher_states),
            self.model.projections,
            text["attention_mask"],
        )
        loss = (1 - method.alpha) * task + method.alpha * soft + method.beta * feature
        self.experiment.log(task=task, distillation=soft, feature=feature)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    student, teacher, method = experiment.student, experiment.teacher, experiment.method
    pairs = layer_pairs(method.layer_map, len(teacher.widths), len(taps(student)), method.layers)
    sizes = [[width] * (1 + len(pairs)) for width in (widths(student)[0], teacher.widths[0])]
    student.add_module("projections", Projections(*sizes, spatial=False))

    trainer = TinyBertTrainer(
        experiment,
        pairs,
        model=student,
        args=experiment.training_arguments(),
        train_dataset=experiment.train_dataset + experiment.transfer_dataset,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(student),  # the projections are trained and clipped with the student
        callbacks=experiment.callbacks,
    )
    trainer.train(resume_from_checkpoint=experiment.checkpoint)
    del student.projections
    return student
