"""48 things a hostile train.py might try, each behind every fence and once without, so that it is seen to bite.

    hostile    the attempts, as the untrusted script runs them, and one honest job
    probes     their list, with the host's verdict on each
    lab        what is planted for them: canaries, listeners, victims
    fences     isolation off, the few controls, and the backends under the real supervisor
    column     one fence, one user, every probe, in a process of its own
    speed      what isolation costs

`python -m tests.campaigns.probes` runs all of it and prints the table.
"""
