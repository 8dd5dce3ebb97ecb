"""kdagent: one sentence in, an experiment whose every claim can be re-checked out."""

__version__ = "0.1.0"
