"""Where code we do not trust lives and runs. Standard library and git only; the training stack is never imported here.

    workspace    every version of train.py, as commits of a bare git repository
    checks       a look at an edited train.py before it runs: at its values, its training and its reach
    isolation    the backends, strongest first: bubblewrap, landlock, and a plain process; selftest tries them
    supervisor   runs the child, keeps its log, and ends it and its descendants when a limit is reached
    intake       reads what the child left behind, as hostile input; schema and tensors say what it must be

What each level protects and what it does not, with measurements: docs/security.md.
"""
