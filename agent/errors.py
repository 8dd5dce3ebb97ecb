"""The agent's half of the exception tree; the root and the sandbox's half are in sandbox/errors.py.

AgentError
├── UsageError           2  a flag, an idea, a run id or a setting is wrong
│   ├── PlanError        2  the plan asks for something that cannot be done
│   └── DataError        2  the data are missing, unreadable or not what the task needs
│       └── DataChanged  2  they are not those that the run was planned with
├── ModelError           3  the language model failed, or never gave a usable reply
│   ├── BudgetError      3  the next request would overspend the token budget
│   ├── NoFurtherEdit    3  the model has no further edit to offer
│   ├── DriftError       6  a record holds no answer to what is asked now, or something else follows from it
│   └── ReplyError       3  one reply cannot be used; the message goes back to the model word for word
│       └── EditError    3  its edit does not apply to train.py
├── CredentialsError     4  an endpoint needs a key that is missing or refused
├── TrainingError        5  a training process failed
│   └── OutOfTime        5  the time budget is spent
├── NoReplay             7  a run cannot be replayed: something that it takes is missing
├── ReviewPending        8  the plan waits for a person's approval
└── Interrupted        130  Ctrl-C; the run can be resumed
"""

from sandbox.errors import KdagentError


class AgentError(KdagentError):
    pass


class UsageError(AgentError):
    exit_code = 2


class PlanError(UsageError):
    pass


class DataError(UsageError):
    pass


class DataChanged(DataError):
    pass


class ModelError(AgentError):
    exit_code = 3


class BudgetError(ModelError):
    pass


class NoFurtherEdit(ModelError):
    pass


class DriftError(ModelError):
    exit_code = 6


class ReplyError(ModelError):
    pass


class EditError(ReplyError):
    pass


class CredentialsError(AgentError):
    exit_code = 4


class TrainingError(AgentError):
    exit_code = 5


class CacheChanged(TrainingError):
    """An entry of the cache changed while a process was reading it: nothing that process left counts."""


class OutOfTime(TrainingError):
    pass


class NoReplay(AgentError):
    exit_code = 7


class ReviewPending(AgentError):
    exit_code = 8


class Interrupted(AgentError):
    exit_code = 130
