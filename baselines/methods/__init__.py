"""The losses and layer choices that a train.py leans on, a module per method; it does not know how training is run."""
