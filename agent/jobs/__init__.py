"""The processes of a run: each has a job file and a fence; its files are taken in. Knows nothing of verdicts."""
