"""The exit codes of the commands, 0 aside; `verdict` has further ones."""

SOME_FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130  # as shells count it: 128 + SIGINT
_OF_STATES = {"finished": 0, "stopped": 0, "interrupted": INTERRUPTED}


def exit_code(state: str) -> int:
    """Return the exit code that tells in which state a job is at the end of a command that waited for it."""
    return _OF_STATES.get(state, SOME_FAILED)
