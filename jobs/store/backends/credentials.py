"""Credentials of object stores: found before anything is asked of the network, and kept out of every message.

Without credentials, clients of object stores ask an address on the network that clouds answer with those of the
machine. Anywhere else that address belongs to somebody else, or to nobody, so it is asked only where the user says so.
"""

import configparser
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import StoreError
from jobs.store.backends.url import StoreUrl

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config

METADATA = "MNISTJOBS_MACHINE_CREDENTIALS"  # 1: credentials may come from the machine's metadata address
_REREAD_S = 300  # after so long, files of credentials are read again: others renew them
_GOOGLE = ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH")
_GOOGLE_VALUES = ("GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_BEARER_TOKEN")
_AZURE = (
    *("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY"),
    *("AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_TOKEN"),
    *("AZURE_STORAGE_CLIENT_SECRET", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_USE_AZURE_CLI"),
    "AZURE_STORAGE_USE_EMULATOR",
)


def connect(url: StoreUrl, client: "ClientConfig", retry: "RetryConfig") -> "ObjectStore":
    """Make a client of a bucket; nothing is sent yet.

    Args:
        url: The bucket and the prefix of its keys.
        client: Limits of time.
        retry: How often obstore itself repeats a request.

    Raises:
        StoreError: There are no credentials, or the settings contradict each other.
    """
    makers = {"s3": _connect_s3, "gs": _connect_gs, "az": _connect_az}
    common = {"prefix": url.prefix or None, "client_options": client, "retry_config": retry}
    try:
        return makers[url.scheme](url, common)
    except StoreError:
        raise
    except Exception as error:  # obstore's own, and ValueError: its text may quote a value
        raise StoreError(f"{url}: the settings of the environment cannot be used ({type(error).__name__})") from None


def _connect_s3(url: StoreUrl, common: dict[str, Any]) -> "ObjectStore":
    from obstore.store import S3Store

    config: S3Config = {"region": _s3_region()}
    if endpoint := _first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT") or _s3_setting("endpoint_url"):
        config["endpoint"] = endpoint
        common["client_options"] = {**common["client_options"], "allow_http": endpoint.startswith("http://")}
    if _is_on("AWS_SKIP_SIGNATURE") or _may_ask_machine() or _first("AWS_WEB_IDENTITY_TOKEN_FILE"):
        return S3Store(url.bucket, config=config, **common)
    _read_s3(url)
    return S3Store(url.bucket, config=config, credential_provider=lambda: _read_s3(url), **common)


def _read_s3(url: StoreUrl) -> Any:  # noqa: ANN401 - obstore's S3Credential
    """Read keys from the environment, else from the standard file."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    found = [os.environ.get(name, "") for name in names]
    if not (found[0] and found[1]):
        section = _section(_s3_file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), _s3_profile())
        found = [section.get(name.lower(), "") for name in names]
    if not (found[0] and found[1]):
        raise _missing(
            url,
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or put them into ~/.aws/credentials (AWS_PROFILE names "
            "the profile)",
        )
    key, secret, token = found
    expires_at = datetime.now(UTC) + timedelta(seconds=_REREAD_S)
    return {"access_key_id": key, "secret_access_key": secret, "token": token or None, "expires_at": expires_at}


def _s3_region() -> str:
    return _first("AWS_REGION", "AWS_DEFAULT_REGION") or _s3_setting("region") or "us-east-1"


def _s3_setting(name: str) -> str:
    profile = _s3_profile()
    file = _s3_file("AWS_CONFIG_FILE", "config")
    return _section(file, profile if profile == "default" else f"profile {profile}").get(name, "")


def _s3_profile() -> str:
    return _first("AWS_PROFILE", "AWS_DEFAULT_PROFILE") or "default"


def _s3_file(variable: str, name: str) -> str:
    return os.environ.get(variable) or os.path.join("~", ".aws", name)


def _section(file: str, name: str) -> Mapping[str, str]:
    """Read a section of an INI file; nothing where there is none."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(Path(os.path.expanduser(file)).read_text(encoding="utf-8"))
    except OSError:
        return {}
    except (configparser.Error, UnicodeDecodeError):
        raise StoreError(f"{file}: is not a file of AWS settings; allowed: [PROFILE] and lines NAME = VALUE") from None
    return parser[name] if parser.has_section(name) else {}


def _connect_gs(url: StoreUrl, common: dict[str, Any]) -> "ObjectStore":
    from obstore.store import GCSStore

    standard = os.path.expanduser("~/.config/gcloud/application_default_credentials.json")
    if base := _first("GOOGLE_BASE_URL"):
        common["client_options"] = {**common["client_options"], "allow_http": base.startswith("http://")}
    files = [file for file in map(os.environ.get, _GOOGLE) if file]
    if gone := [file for file in files if not os.path.isfile(file)]:
        raise StoreError(f"{url}: the file of credentials {gone[0]!r} does not exist; correct its variable")
    has_credentials = files or _first(*_GOOGLE_VALUES) or os.path.isfile(standard) or _is_on("GOOGLE_SKIP_SIGNATURE")
    if not (has_credentials or _may_ask_machine()):
        raise _missing(url, "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account")
    return GCSStore(url.bucket, **common)


def _connect_az(url: StoreUrl, common: dict[str, Any]) -> "ObjectStore":
    from obstore.store import AzureStore

    if not _first("AZURE_STORAGE_ACCOUNT_NAME"):
        raise StoreError(f"{url}: the account is not known; set AZURE_STORAGE_ACCOUNT_NAME")
    if endpoint := _first("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"):
        common["client_options"] = {**common["client_options"], "allow_http": endpoint.startswith("http://")}
    if not (_first(*_AZURE) or _is_on("AZURE_SKIP_SIGNATURE") or _may_ask_machine()):
        raise _missing(url, "set AZURE_STORAGE_ACCOUNT_KEY, or another credential of Azure's")
    return AzureStore(url.bucket, **common)


def _missing(url: StoreUrl, advice: str) -> StoreError:
    return StoreError(
        f"{url}: there are no credentials for it; {advice}, or {METADATA}=1 where this machine has a role of its own"
    )


def _first(*names: str) -> str:
    return next((value for name in names if (value := os.environ.get(name))), "")


def _is_on(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on")


def _may_ask_machine() -> bool:
    return _is_on(METADATA)
