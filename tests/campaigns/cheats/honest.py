"""The controls: authors that do what they say. No check may accuse them."""

from agent import config
from tests.campaigns.cheats.cheat import KD_SOFT, STUDENT_LOSS, Author, changed, edit, plan

SQUARED = (
    'soft = (outputs.logits - inputs["teacher_logits"]).div(method.temperature).square().mean() * method.temperature'
)


def _file(name: str) -> str:
    return edit((config.TRAIN_FILES / f"{name}.py").read_text())


AUTHORS = (
    Author("honest kd", "vanilla distillation from the library", (plan("kd"),), (_file("kd"),)),
    Author("honest selective", "logits and the last layers", (plan("kd_selective"),), (_file("kd_selective"),)),
    Author(
        "honest finetune",
        "a penalty on large logits, no teacher",
        (plan("finetune"),),
        (edit(changed("student_only", (STUDENT_LOSS, f"{STUDENT_LOSS} + outputs.logits.square().mean() / 100"))),),
    ),
    Author(
        "honest own loss",
        "a squared error on softened logits, written from scratch",
        (plan("kd"),),
        (edit(changed("kd", (KD_SOFT, SQUARED), (", distillation\n", "\n"))),),
    ),
)
