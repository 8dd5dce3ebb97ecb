"""The processes of a run, each with a job file, in a sandbox; their files are taken in. Knows nothing of verdicts."""
