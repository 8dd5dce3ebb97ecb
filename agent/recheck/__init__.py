"""What somebody who does not trust a run does with it: verify, replay, compare, carry. Never knows the commands."""
