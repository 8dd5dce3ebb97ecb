"""The objects train.py is given, and the trace written while it trains; it does not know which process runs it."""
