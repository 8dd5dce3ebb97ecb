"""Prepared rows."""

MOST_LABELS = 1 << 30  # bytes, as the next two
