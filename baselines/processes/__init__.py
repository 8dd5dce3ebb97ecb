"""The processes that `python -m baselines PROCESS` starts, each on job files; no other room knows of them."""
