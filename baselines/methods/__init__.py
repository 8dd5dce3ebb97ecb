"""The loss functions and layer choices a train.py leans on: one module per method, nothing here trains."""
