"""The exit codes of the commands, 0 aside; `verdict` has further ones."""

SOME_FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130  # as shells count it: 128 + SIGINT
