"""What train.py is handed, and what is written down while it trains; it does not know which process runs it."""
