"""Tasks, their rows, and batches of them; it does not know a model."""
