"""The science every idea starts from and is measured against.

Tasks, models, teachers and their caches, methods, and the processes that run them: `prepare`, `teacher`, `trial`,
`predict`. Nothing here imports the agent or the sandbox; the processes speak with the harness through files only.
"""
