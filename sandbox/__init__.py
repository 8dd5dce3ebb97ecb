"""Where code we do not trust lives and runs. Standard library and git only; the training stack is never imported here.

    workspace    every version of train.py, as commits of a bare git repository
    checks       a look at an edited train.py before it runs
    isolation    what a child process may see, and how it is started: bubblewrap, or a plain process
    supervisor   runs the child, keeps its log, and ends it and its descendants when a limit is reached
    intake       reads what the child left behind, as hostile input

Covered under bubblewrap (level 3): no network; no file but those named, the Python environment and /usr; one writable
folder; no secret in the environment; other processes can be neither seen nor signalled; wall time, memory, file size
and log size end; nothing the job started outlives it; and a result that is a link, a pipe or a bomb is rejected.

Not covered: flaws in the kernel (no system call is filtered yet); the number of files and the disk they fill in the
writable folder; use of the processor; timing and other side channels; the right to read all of /usr; and the training
process itself, where edited code can forge anything it reports about itself. As root the job keeps root's user id,
without its capabilities. A plain process (level 0) covers none of the files, the network or the other processes: it
keeps secrets out of the environment, and limits.
"""
