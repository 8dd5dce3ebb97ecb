"""Tools for somebody who does not trust a run: verify, replay, compare, carry. Never knows the commands."""
