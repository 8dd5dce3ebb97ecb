"""From an idea and options to a frozen plan, and the rules it must keep. Reads no run's results and starts nothing."""
