"""Headroom: where a teacher has nothing to add to the student's labels, a setting that leaves it more to add.

Few labels and a transfer set that the teacher answers, or a smaller student: what is scarce is what a teacher can add.
"""

from agent.plan.plan import Track

FEWEST = 10  # labelled rows per class
PLENTY = 4  # times the fewest: below it, fewer labels would change little


def more_headroom(track: Track) -> str:
    """Options of `kdagent run` that leave the student further behind its teacher, or "" where none is known."""
    task = track.task
    few = max(FEWEST * len(task.labels), track.pool_rows // 100)
    if task.kind != "language" and track.method.card.unlabelled and task.train_rows >= PLENTY * few:
        return f"--train-size {few} --transfer-size {track.pool_rows - few}"
    half = track.student.width / 2
    if track.student.checkpoint or (track.student.heads and half % track.student.heads):
        return ""
    return f"--set {track.name}.student.width={half:g}"
