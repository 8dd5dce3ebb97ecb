"""The flow of a run, from the idea to the report; all of langgraph is here. Knows nothing of re-checking."""
