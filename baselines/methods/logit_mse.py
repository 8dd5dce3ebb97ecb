"""Logits by squared error: the student regresses the teacher's logits instead of its softened probabilities.

Ba and Caruana 2014, "Do Deep Nets Really Need to be Deep?", arXiv 1312.6184, section 2.2; from BERT to a BiLSTM, Tang
et al. 2019, arXiv 1903.12136, section 3.2. Logits are [B, C] of any float type, computed on in fp32 (fp64 stays fp64).
"""

from torch import Tensor

from baselines.methods.kd import fp32


def squared_error(student_logits: Tensor, teacher_logits: Tensor, centred: bool) -> Tensor:
    """1/(B·C) ‖c(z_s) − c(z_t)‖², where c takes the mean over the classes from each row if `centred`, else nothing.

    A softmax ignores a constant that is added to a row, so a row's mean logit says nothing about its classes; without
    centring the student is made to imitate that too. Centred, it is the limit of 2T²·KL at high temperatures (Hinton et
    al. 2015, arXiv 1503.02531, section 2.1). Raises ValueError for shapes that differ, and for a single column, which
    centring would make 0.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student logits {[*student_logits.shape]} and teacher logits {[*teacher_logits.shape]} differ"
        )
    if centred and student_logits.shape[-1] < 2:
        raise ValueError("one column is a score, and centred it is always 0: compare scores with centred=False")
    difference = fp32(student_logits) - fp32(teacher_logits)
    if centred:
        difference = difference - difference.mean(dim=-1, keepdim=True)
    return difference.square().mean()
