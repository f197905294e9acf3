"""The URL of a store in a bucket. It holds no secret, and may be shown, logged and sent to other nodes."""

import re
from dataclasses import dataclass

from jobs.errors import StoreError

_SCHEMES = ("s3", "gs", "az")
_FORM = "allowed: a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
# A path that went through pathlib has lost one of the two slashes.
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):/(?P<rest>.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_SEGMENT = re.compile(r"[A-Za-z0-9!_.'()=@,+ -]+")  # what every service takes, and no pattern or query begins with


@dataclass(frozen=True)
class StoreUrl:
    """A bucket, and the prefix of the store's keys in it."""

    scheme: str
    bucket: str
    prefix: str = ""  # without slashes at its ends

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


def is_url(text: str) -> bool:
    """Return whether a text is meant as a URL, also one that lost a slash as a path."""
    return _URL.fullmatch(text) is not None


def parse_url(text: str) -> StoreUrl:
    """Read the URL of a store.

    Raises:
        StoreError: It is none of a bucket that can hold a store. The message does not repeat what may be a password.
    """
    match = _URL.fullmatch(text)
    scheme, rest = (match["scheme"].lower(), match["rest"].lstrip("/")) if match else ("", "")
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket or "?" in rest or "#" in rest:
        raise StoreError(
            f"store: the URL has credentials, a query or a fragment in it, which are not shown here; {_FORM}, "
            "with the credentials in the environment"
        )
    if scheme not in _SCHEMES:
        raise StoreError(f"store '{text}': is a URL of another kind; {_FORM}")
    if not _BUCKET.fullmatch(bucket):
        raise StoreError(f"store '{text}': {bucket!r} is not the name of a bucket; {_FORM}")
    prefix = prefix.strip("/")
    wrong = [each for each in prefix.split("/") if prefix and (each in ("", ".", "..") or not _SEGMENT.fullmatch(each))]
    if wrong:
        raise StoreError(
            f"store '{text}': the prefix has {wrong[0]!r} between its slashes; allowed: letters, digits and ordinary "
            "punctuation, such as studies/2026"
        )
    return StoreUrl(scheme, bucket, prefix)
