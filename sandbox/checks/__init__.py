"""The static check of an edited train.py: it reads source text, runs nothing, and may not know isolation or git."""
