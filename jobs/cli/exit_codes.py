"""The exit codes of the commands, 0 aside; `verdict` has further ones."""

SOME_FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130  # as shells count it: 128 + SIGINT
_OF_STATES = {"finished": 0, "stopped": 0, "interrupted": INTERRUPTED}


def exit_code(state: str) -> int:
    """Return the exit code of a command that waited for a job, by the state of the job."""
    return _OF_STATES.get(state, SOME_FAILED)
