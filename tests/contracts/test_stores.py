"""Each store does what every store does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from penstock.ports import Store
from penstock.stores import open_store
from penstock.testing.stores import StoreContract


class TestLocalStore(StoreContract):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Callable[[], Store]:
        return partial(open_store, "./data", {}, tmp_path)


class TestS3Store(StoreContract):
    @pytest.fixture
    def opener(self, tmp_path: Path, s3: Any) -> Callable[[], Store]:
        return partial(open_store, f"{s3.url}some/prefix", s3.options, tmp_path)


class TestS3StoreOfAWholeBucket(StoreContract):
    @pytest.fixture
    def opener(self, tmp_path: Path, s3: Any) -> Callable[[], Store]:
        return partial(open_store, s3.url, s3.options, tmp_path)
