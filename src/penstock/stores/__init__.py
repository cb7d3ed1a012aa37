"""Object storage under one root: a local folder, or a bucket and prefix on S3.

An object is created whole or not at all, and never changes afterwards. What a killed process
leaves half done is never listed: locally it lies in `.unfinished/` (swept after a day), on S3 it
is an incomplete multipart upload (a lifecycle rule of the bucket ends those).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from penstock.errors import SpecError
from penstock.ports import Store
from penstock.stores.local import LocalStore
from penstock.stores.s3 import OPTIONS, S3Store


def open_store(url: str, options: Mapping[str, str], directory: Path) -> Store:
    """The store at `url`: a folder (relative ones start at `directory`) or `s3://bucket/prefix`.

    A folder that is not there has been made. S3 is first asked when something is stored or read.
    Shape: `options` are for S3: endpoint, region, access_key_id, secret_access_key,
    session_token; without keys the AWS environment variables or the machine's role are used.
    Raises: SpecError for another scheme or option.
    """
    scheme, mark, rest = url.partition("://")
    if not mark or scheme == "file":
        return LocalStore.at(directory / Path(rest if mark else url).expanduser())
    if scheme != "s3":
        raise SpecError(
            f'storage "{url}" is of a kind that does not exist here',
            where="storage.url",
            fix="a folder (./data) or s3://bucket/prefix",
        )
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise SpecError(
            f"s3 does not take the option {unknown[0]!r}",
            where=url,
            fix=f"one of {', '.join(OPTIONS)}",
        )
    bucket, _, prefix = rest.partition("/")
    if not bucket:
        raise SpecError(f'"{url}" names no bucket', where="storage.url", fix="s3://bucket/prefix")
    return S3Store(bucket, prefix.strip("/"), options)
