"""Where a store's bytes lie, behind one port: a folder, or a bucket of an object store."""

from jobs.store.backends.folder import FolderBackend as FolderBackend
from jobs.store.backends.interface import Backend as Backend
from jobs.store.backends.interface import Entry as Entry
from jobs.store.backends.interface import Refused as Refused
from jobs.store.backends.interface import Version as Version
from jobs.store.backends.object_store import ObjectBackend as ObjectBackend
from jobs.store.backends.url import StoreUrl as StoreUrl
from jobs.store.backends.url import is_url as is_url
from jobs.store.backends.url import parse_url as parse_url
