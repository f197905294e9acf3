"""Jobs of a Ray cluster: commands that Ray starts on its head, with the code that they run.

Ray's own client of its job server does the work. Whatever it raises becomes an error of one line.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cluster.interface import AddressError, JobClientMissing, JobServerError
from cluster.job_server import UNTRUSTED, JobServer, find_job_server
from cluster.ray_environment import environment, without_options

with environment(without_options(os.environ)):  # Ray reads its options as it is imported, and sets one
    import ray  # noqa: F401
import requests
from ray.exceptions import RayError

from cluster.ray_token import TOKEN_SOURCES, find_token, read_authentication

# What Ray's client would take instead of the address that it is given.
_NOT_FOR_CLIENT = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
_CONNECT_TIMEOUT_S = 5.0
_ANSWER_TIMEOUT_S = 30.0  # the server itself waits for 10 seconds for the head's agent
_STOP_S = 20  # Ray kills a job that has not ended by then
_MAX_REASON = 300

RayJobStatus = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
ENDED: tuple[RayJobStatus, ...] = ("STOPPED", "SUCCEEDED", "FAILED")


@dataclass(frozen=True)
class RayJobState:
    """The state of a job as Ray knows it, which may be wrong: a job whose agent was restarted stays RUNNING."""

    status: RayJobStatus
    message: str  # one line


@dataclass(frozen=True)
class RayJobs:
    """The jobs of one cluster."""

    server: JobServer
    client: Any  # Ray's JobSubmissionClient

    def submit(self, submission_id: str, entrypoint: str, code: Path, env: Mapping[str, str]) -> bool:
        """Start a command on the cluster's head, in a copy of a folder from which all its tasks import.

        Everybody with access to the cluster can read the environment, the command and the id: they must hold no secret.

        Args:
            submission_id: An id of the job.
            entrypoint: The command, for the shell.
            code: A folder; it is sent unless the cluster has it already.
            env: Further environment variables of the command and its tasks.

        Returns:
            Whether it was started: False where the cluster has or had a job of this id.

        Raises:
            JobServerError: The cluster does not start it.
        """
        runtime_env = {"working_dir": str(code), "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_S), **env}}
        try:
            with self._errors():
                self.client.submit_job(
                    entrypoint=entrypoint,
                    submission_id=submission_id,
                    runtime_env=runtime_env,
                    entrypoint_num_cpus=0,  # a full cluster would keep the driver from starting
                )
        except JobServerError as error:
            if "already exists" in str(error):
                return False
            raise
        return True

    def stop(self, submission_id: str) -> bool:
        """Ask a job to end, which Ray otherwise kills after a while; return whether there was one that ran.

        Raises:
            JobServerError: The cluster does not answer.
        """
        try:
            with self._errors():
                return bool(self.client.stop_job(submission_id))
        except _NotFound:
            return False

    def state(self, submission_id: str) -> RayJobState | None:
        """Return the state of a job as Ray knows it; None where Ray does not know the id.

        Raises:
            JobServerError: The cluster does not answer.
        """
        try:
            with self._errors():
                info = self.client.get_job_info(submission_id)
        except _NotFound:
            return None
        reason = (info.message or "").partition(", last available logs")[0]
        return RayJobState(info.status.value, _one_line(reason))

    def logs(self, submission_id: str) -> str:
        """Return what a job has printed; "" where there is no such job, or its log is gone.

        Raises:
            JobServerError: The cluster does not answer.
        """
        try:
            with self._errors():
                return str(self.client.get_job_logs(submission_id) or "")
        except _NotFound:
            return ""

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with _quiet(), _errors_of(self.server):
            yield


def connect_to_jobs(address: str, *, allow_unauthenticated: bool = False) -> RayJobs:
    """Connect to the job server of a cluster, with this user's token where it asks for one.

    Args:
        address: http://HOST:PORT of the cluster's dashboard.
        allow_unauthenticated: Whether to accept a cluster that lets anybody on its network run programs.

    Raises:
        AddressError: There is no job server, or it refuses this user.
        UnauthenticatedError: It works without tokens, and is on another machine.
        JobClientMissing: Ray is installed here without its job client.
    """
    server = find_job_server(address, allow_unauthenticated=allow_unauthenticated)
    if server.mode == "disabled" and os.environ.get("RAY_AUTH_MODE", "").lower() == "token":
        raise AddressError(f"{server.where}: works without tokens, but RAY_AUTH_MODE is token; unset RAY_AUTH_MODE")
    token = find_token() if server.mode == "token" else ""
    if server.mode == "token" and not token:
        reason = f"needs a token, and there is none; allowed: the token of that cluster in {TOKEN_SOURCES}"
        raise AddressError(f"{server.where}: {reason}")
    try:
        return RayJobs(server, _client(server))
    except _Refused as error:
        reason = f"refuses the token in {token}; allowed: the token of that cluster in {TOKEN_SOURCES}"
        raise AddressError(f"{server.where}: {reason}") from error


def _client(server: JobServer) -> Any:  # noqa: ANN401  Ray's types leave it out
    """Make Ray's client, which reads the token now and keeps it."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_CLIENT}
    try:
        with environment({**kept, "RAY_AUTH_MODE": server.mode}), _quiet(), _errors_of(server):
            read_authentication()
            return _client_class()(server.url)
    finally:
        read_authentication()  # the caller's


def _client_class() -> type[Any]:
    try:
        import aiohttp  # noqa: F401  without it Ray's client refuses to be made, and the server to start
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise JobClientMissing(f"Ray's client for jobs: {error.name} is not installed") from error

    class BoundedClient(JobSubmissionClient):
        """Ray's client, with a limit to how long an answer may take."""

        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:  # noqa: ANN401
            options.setdefault("timeout", (_CONNECT_TIMEOUT_S, _ANSWER_TIMEOUT_S))
            return super()._do_request(method, endpoint, **options)

    return BoundedClient


class _Refused(JobServerError):
    """The server refuses the token."""


class _NotFound(JobServerError):
    """The server knows no such job."""


@contextmanager
def _errors_of(server: JobServer) -> Iterator[None]:
    """Turn whatever Ray's client raises into an error of one line."""
    try:
        yield
    except requests.Timeout as error:
        reason = f"is silent for {_ANSWER_TIMEOUT_S:.0f} s; its head is busy or dying"
        raise JobServerError(f"{server.where}: {reason}") from error
    except requests.exceptions.SSLError as error:
        raise AddressError(f"{server.where}: {UNTRUSTED}") from error
    except requests.RequestException as error:
        raise JobServerError(f"{server.where}: does not answer any longer ({type(error).__name__})") from error
    except RayError as error:  # an AuthenticationError: its text is a page
        raise _Refused(f"{server.where}: refuses the token") from error
    except (RuntimeError, ValueError, OSError, TypeError, LookupError) as error:
        reason = _last_reason(str(error)) or type(error).__name__
        kind = _NotFound if "status code 404" in str(error) else JobServerError
        raise kind(f"{server.where}: {reason}") from error


def _last_reason(text: str) -> str:
    """Find the reason in the answer of a server, which may contain tracebacks: the last exception."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" .")]
    raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Exit)\b.*: ", line)]
    return _one_line((raised or lines or [""])[-1])[:_MAX_REASON]


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's client from writing its log to the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
