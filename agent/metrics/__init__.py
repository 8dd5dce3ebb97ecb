"""Reported metrics checked against their own arithmetic (`kdagent lint`). Knows nothing of runs in progress."""
