"""Objects in a bucket, through obstore."""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import PenstockError, Transient
from penstock.ports import StoredObject
from penstock.stores.disk import local_errors
from penstock.stores.keys import checked, checked_prefix, missing

if TYPE_CHECKING:
    from obstore.store import S3Store as Client

OPTIONS = ("endpoint", "region", "access_key_id", "secret_access_key", "session_token")
_ATTEMPTS = 6
_PART_BYTES = 8 * 1024 * 1024


class S3Store:
    """A bucket and prefix on S3, or whatever speaks its protocol and knows `If-None-Match`."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        options: Mapping[str, str],
        retries: int = 5,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bucket, self._prefix, self._options = bucket, prefix, dict(options)
        self._retries, self._pause = retries, pause

    def __repr__(self) -> str:
        return f"S3Store({self._where('')!r})"

    @cached_property
    def _client(self) -> Client:
        return self._connect(self._retries)

    @cached_property
    def _once(self) -> Client:
        """For conditional creates: a hidden second try would meet its own first one."""
        return self._connect(retries=0)

    def _connect(self, retries: int) -> Client:
        from obstore.store import S3Store as Client

        return Client(
            self._bucket,
            prefix=self._prefix or None,
            client_options={"allow_http": self._options.get("endpoint", "").startswith("http:")},
            retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=60)},
            **self._options,  # type: ignore[arg-type]
        )

    def create(self, key: str, body: bytes) -> bool:
        """Store `body` if nothing stands at `key`; False if something does. Durable on return.

        Why: S3 answers 412 when something stands there, and 409 when another create is under way;
        obstore tells both as "exists", so that what is stored decides. After a lost reply (a
        dropped connection, a 5xx) the create is tried again, and True if our own body stands.
        Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, GenericError

        unknown: GenericError | None = None
        for attempt in range(_ATTEMPTS):
            self._back_off(attempt)
            with self._errors(checked(key)):
                try:
                    obstore.put(self._once, key, body, mode="create", use_multipart=False)
                    return True
                except AlreadyExistsError:
                    stored = self.read(key)
                    if stored is not None:
                        return unknown is not None and stored == body
                except GenericError as error:
                    if not _is_lost(error):
                        raise
                    unknown = error
        raise Transient(
            "S3 did not say whether an object was stored",
            where=self._where(key),
            why=_first_line(unknown) if unknown else "others were creating it all the time",
        )

    def _back_off(self, attempt: int) -> None:
        if attempt:
            self._pause(random.uniform(0.5, 1.0) * 0.1 * 2**attempt)  # noqa: S311

    def adopt(self, path: Path, key: str) -> None:
        import obstore

        with local_errors(path):
            path.stat()
        with self._errors(checked(key)):
            obstore.put(self._client, key, path, chunk_size=_PART_BYTES, max_concurrency=4)
            path.unlink()

    def read(self, key: str) -> bytes | None:
        import obstore

        with self._errors(checked(key)):
            try:
                return bytes(obstore.get(self._client, key).bytes())
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def fetch(self, key: str, folder: Path) -> Path:
        """A local copy, complete under its name; one that is there already is not fetched again."""
        import obstore

        name = f"{hashlib.sha256(checked(key).encode()).hexdigest()[:12]}-{Path(key).name}"
        target = folder / name
        if target.exists():
            return target
        temporary = folder / f"{name}.{uuid.uuid4().hex[:8]}.part"
        try:
            with self._errors(key):
                try:
                    answer = obstore.get(self._client, key)
                except FileNotFoundError as error:
                    if "NoSuchBucket" in str(error):
                        raise
                    raise missing(self._where(key)) from error
                with local_errors(target), temporary.open("xb") as file:
                    for part in answer.stream(min_chunk_size=_PART_BYTES):
                        file.write(part)
                with local_errors(target):
                    temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return target

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, in the order of their keys.

        Why: the service lists whole folders only; the offset spares what comes before the name.
        """
        import obstore

        folder, name = checked_prefix(prefix)
        offset = prefix[:-1] if len(name) > 1 else None
        with self._errors(prefix):
            for page in obstore.list(self._client, folder or None, offset=offset):
                for found in page:
                    key = found["path"]
                    if key.startswith(prefix):
                        yield StoredObject(key, found["size"], found["last_modified"])
                    elif key > prefix:
                        return

    def delete(self, keys: Iterable[str]) -> None:
        import obstore

        batch = [checked(key) for key in keys]
        if batch:
            with self._errors(batch[0]), contextlib.suppress(FileNotFoundError):
                obstore.delete(self._client, batch)

    def _where(self, key: str) -> str:
        return f"s3://{self._bucket}/{f'{self._prefix}/' if self._prefix else ''}{key}"

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """What S3 says, in terms of what to do."""
        from obstore import exceptions

        where = self._where(key)
        try:
            yield
        except (FileNotFoundError, exceptions.BaseError) as error:
            raise _s3_explained(error, where) from error


def _s3_explained(error: Exception, where: str) -> PenstockError:
    """The error in terms of what to do.

    Why: obstore has no class of its own for most answers, and a list tells none by class; the
    status and S3's own codes stand in its text.
    """
    text, why = str(error), _first_line(error)
    bucket = where.split("/")[2]
    if isinstance(error, FileNotFoundError) or "NoSuchBucket" in text:
        return PenstockError(
            f"there is no bucket {bucket!r}",
            where=where,
            why=why,
            fix="create it, or correct the url, the region or the endpoint",
        )
    if "169.254." in text:  # where a machine would keep the credentials of its role
        return PenstockError(
            "there are no credentials for S3 here",
            where=where,
            why=why,
            fix="export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…, or set them in the options",
        )
    if re.search("status code: 40[13]", text):
        return PenstockError(
            f"S3 refuses access to bucket {bucket!r}",
            where=where,
            why=why,
            fix="check the credentials, and that they allow s3:GetObject, s3:PutObject, "
            "s3:DeleteObject and s3:ListBucket there",
        )
    if "incorrectly configured region" in text or "AuthorizationHeaderMalformed" in text:
        return PenstockError(
            "the bucket is in another region",
            where=where,
            why=why,
            fix="set region in the options of the storage, or AWS_REGION",
        )
    if re.search("ExpiredToken|InvalidToken|TokenRefreshRequired", text):
        return PenstockError(
            "the credentials for S3 are no longer valid",
            where=where,
            why=why,
            fix="get new ones (aws sso login), then run again",
        )
    return Transient("S3 did not answer", where=where, why=why)


def _is_lost(error: Exception) -> bool:
    """Whether the request may have been carried out all the same."""
    return isinstance(_s3_explained(error, "s3://?"), Transient)


def _first_line(error: Exception) -> str:
    """What obstore says, without its dump of Rust structures."""
    return str(error).split("\n", 1)[0].strip()
