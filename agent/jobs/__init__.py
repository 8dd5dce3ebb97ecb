"""The processes of a run: told what to do, fenced in, their files taken in. Knows nothing of scores or verdicts."""
