"""Where code we do not trust lives and runs. Standard library and git only; the training stack is never imported here.

    checks/      the static check of an edited train.py: its values, its use of the experiment, its access to the rest
    isolation/   a child behind the strongest fence there is, within limits, with a log; none of it outlives the job
    workspace    every version of train.py, as commits of a bare git repository
    intake       reads the files that a child left, as hostile input; schema and tensors define what is valid
    folder       the folder that a job may write: lent to it, measured and removed as hostile

`printable` and `errors` serve all of them. The rooms do not know each other (import-linter, pyproject.toml).
What each level protects and what it does not, with measurements: docs/security.md.
"""
