"""The meaning of a failed request to an object store, in words for a person and without secrets."""

import re

from jobs.store.backends.url import StoreUrl

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>|\"(?:reason|code)\": ?\"(\w+)\"")
_WRONG_KEY = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "AuthenticationFailed")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
_SECRETS = re.compile(r"\?\S*|(?i:signature|token|key|authorization)[=:]\s*\S+")
_SYSTEM = re.compile(r"code: \d+, kind: \w+, message: \"([\w ]+)\"")
_MAX_REASON = 160  # characters


def is_missing_bucket(error: BaseException) -> bool:
    """Return whether an object was not found because its bucket does not exist."""
    return _code(error) in _NO_BUCKET


def is_passing(error: BaseException) -> bool:
    """Return whether the same request may succeed later: nothing has answered, or the service has failed."""
    status = _status(error)
    return (status is None and not _is_about_settings(error)) or status in (408, 429) or 500 <= (status or 0) < 600


def describe_failure(error: BaseException, url: StoreUrl, verb: str, waited_s: float) -> str:
    """Say why a request failed, and what to do about it."""
    status, code = _status(error), _code(error)
    if code in _NO_BUCKET:
        return f"there is no bucket {url.bucket!r}; make it, or correct the URL"
    if code in _WRONG_KEY or status == 401:
        return f"the service does not accept the credentials ({code or status}); correct them"
    if status == 403:
        allowed = {"read": "read", "listed": "list", "written": "write", "deleted": "delete"}[verb]
        return f"these credentials may not {allowed} there ({code or status}); allowed: read, list, write and delete"
    if is_passing(error):
        answer = f"the service fails ({code or status})" if status else f"nothing answers{_cause(error)}"
        return f"{answer}, tried for {waited_s:.0f} s; check the network and the endpoint"
    return _shorten(error, code)


def _cause(error: BaseException) -> str:
    """Give the reason of the system in brackets, where it is known."""
    text = " ".join(str(error).split())
    if "dns error" in text:
        return " (the endpoint's name is not known)"
    if "certificate" in text:
        return " (its certificate is not accepted)"
    match = _SYSTEM.search(text)
    return f" ({match[1]})" if match else " in time" if "TimedOut" in text else ""


def _is_about_settings(error: BaseException) -> bool:
    """Return whether a request was never sent: the client could not make it."""
    return "HTTP error" not in str(error) and "error sending request" not in str(error)


def _status(error: BaseException) -> int | None:
    match = _STATUS.search(str(error))
    return int(match[1]) if match else None


def _code(error: BaseException) -> str:
    match = _CODE.search(str(error))
    return (match[1] or match[2]) if match else ""


def _shorten(error: BaseException, code: str) -> str:
    text = " ".join(str(error).partition("Debug source")[0].split())
    text = _SECRETS.sub("...", re.sub(r"<.*", "", text))
    return code or text[:_MAX_REASON]
