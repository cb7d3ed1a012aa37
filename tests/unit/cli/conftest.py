"""The sample pipeline of `penstock init` in a folder of the test's own, and the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from penstock.cli import main


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verb gave back."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Answer]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """cli("run", "--json"): the verb has run in this process."""

    def call(*words: str) -> Answer:
        capfd.readouterr()
        code = main(list(words))
        caught = capfd.readouterr()
        return Answer(code, caught.out, caught.err)

    return call


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `penstock init` leaves it."""
    folder = tmp_path_factory.mktemp("sample") / "shop"
    assert main(["init", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def loaded_sample(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after one run: 8 rows read, 5 loaded, 3 bad."""
    folder = tmp_path_factory.mktemp("loaded") / "shop"
    shutil.copytree(sample, folder)
    assert main(["run", "-f", str(folder / "pipeline.yaml")]) == 0
    return folder


@pytest.fixture
def shop(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh sample; the test stands in it."""
    return _stand_in(sample, tmp_path, monkeypatch)


@pytest.fixture
def loaded(loaded_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sample after one run; the test stands in it."""
    return _stand_in(loaded_sample, tmp_path, monkeypatch)


def _stand_in(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "shop"
    shutil.copytree(folder, copy)
    monkeypatch.chdir(copy)
    monkeypatch.delenv("PENSTOCK_ENV", raising=False)
    return copy


@pytest.fixture
def edit(shop_file: Path) -> Callable[[str, str], None]:
    """edit(old, new): the pipeline file says `new` where it said `old`."""

    def replace(old: str, new: str) -> None:
        text = shop_file.read_text("utf-8")
        assert old in text, old
        shop_file.write_text(text.replace(old, new), "utf-8")

    return replace


@pytest.fixture
def shop_file(tmp_path: Path) -> Path:
    return tmp_path / "shop" / "pipeline.yaml"
