"""Entries that runs share on this machine, keyed by content. Knows nothing of arms, attempts or results."""
