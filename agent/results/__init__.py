"""From the record to numbers, verdict and report. Starts no process and asks no language model."""
