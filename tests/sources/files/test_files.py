"""The files source: patterns, claims, slices, resumes, and files that are not there."""

from __future__ import annotations

import gzip
import os
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import PenstockError, Rejected, SpecError, Transient
from penstock.model import Slice, Window
from penstock.ports import Claims
from penstock.sources import files
from penstock.sources.files import FilesSource
from penstock.sources.files_pattern import compile_pattern

from .support import Read, add_piece, read_all, source_over, stream_of


def put(folder: Path, path: str, content: bytes | str = "a,b\n1,x\n") -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def planned(window: Window) -> list[str]:
    return [path for part in window.slices for path, _ in part.spec["files"]]


def claims_of(*windows: Window) -> Claims:
    versions: dict[str, tuple[str, ...]] = {}
    for window in windows:
        for path, version in window.claims:
            versions[path] = (*versions.get(path, ()), version)
    return Claims(versions)


def read_slice(source: FilesSource, part: Slice, folder: Path, **more: Any) -> Read:
    read = Read()
    for piece in source.read(stream_of("*", **more), part, None, folder):
        add_piece(read, piece)
    return read


MATCHES = {
    "*.csv": ({"a.csv", "b 1.csv"}, {"d/a.csv", "a.csv.gz"}),
    "**/*.csv": ({"a.csv", "d/a.csv", "d/e/a.csv"}, {"a.tsv"}),
    "d/**": ({"d/a", "d/e/f"}, {"a", "e/d/a"}),
    "a?.csv": ({"a1.csv"}, {"a.csv", "a12.csv", "a/.csv"}),
    "s_{day:%Y%m%d}.csv": ({"s_20240229.csv"}, {"s_20230229.csv", "s_2024022.csv"}),
    "{store}/x.csv": ({"oslo/x.csv"}, {"x.csv", "a/b/x.csv"}),
    "50%[1].csv": ({"50%[1].csv"}, {"501.csv"}),
}


@pytest.mark.parametrize(("pattern", "yes", "no"), [(p, *v) for p, v in MATCHES.items()])
def test_a_pattern_takes_these_paths_and_not_those(
    pattern: str, yes: set[str], no: set[str]
) -> None:
    compiled = compile_pattern(pattern, "")
    assert {path for path in yes | no if compiled.match(path) is not None} == yes


@pytest.mark.parametrize(
    "pattern", ["{}.csv", "{a b}.csv", "{day:%Q}.csv", "{day:x}.csv", "{a}/{A}", "{_penstock_x}"]
)
def test_a_pattern_that_cannot_be_is_refused_with_its_stream(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(SpecError, match="stream sales"):
        source_over(tmp_path).plan(stream_of(pattern), "increment", None, Claims())


def test_parts_of_the_path_become_columns_of_every_row(tmp_path: Path) -> None:
    put(tmp_path, "stores/oslo/sales_20240229-0930.csv", "id,store\n1,x\n2,\n3\n")
    read = read_all(source_over(tmp_path), stream_of("stores/{store}/sales_{at:%Y%m%d-%H%M}.csv"))
    assert [(f.name, f.type) for f in read.fields] == [
        ("id", "varchar"),
        ("store_2", "varchar"),
        ("store", "varchar"),
        ("at", "timestamp"),
    ]
    at = datetime(2024, 2, 29, 9, 30)  # noqa: DTZ001
    assert read.values == [("1", "x", "oslo", at), ("2", None, "oslo", at)]
    assert read.bad == [(4, "1 columns instead of 2", "3")]


def test_a_date_in_the_path_is_a_date(tmp_path: Path) -> None:
    put(tmp_path, "day=2024-02-29/x.ndjson", '{"a":1}\n')
    put(tmp_path, "day=2024-02-30/x.ndjson", '{"a":2}\n')
    source, stream = source_over(tmp_path), stream_of("day={day:%Y-%m-%d}/*")
    assert [row["day"] for row in read_all(source, stream).good] == [date(2024, 2, 29)]
    assert source.unclaimed([stream]) == ["day=2024-02-30/x.ndjson"]


def test_files_are_claimed_once_by_path_and_version(tmp_path: Path) -> None:
    put(tmp_path, "a.csv")
    put(tmp_path, "b.csv")
    source, stream = source_over(tmp_path), stream_of("*.csv")
    first = source.plan(stream, "increment", None, Claims())
    assert planned(first) == [path for path, _ in first.claims] == ["a.csv", "b.csv"]
    again = source.plan(stream, "increment", None, claims_of(first))
    assert (again.slices, again.claims) == ((), ())
    put(tmp_path, "c.csv")
    more = source.plan(stream, "increment", None, claims_of(first))
    assert planned(more) == ["c.csv"]
    everything = source.plan(stream, "refresh", None, claims_of(first, more))
    assert planned(everything) == ["a.csv", "b.csv", "c.csv"]


@pytest.mark.parametrize("reupload", ["replace", "append", "ignore"])
def test_the_same_path_in_another_version_is_replaced_appended_or_ignored(
    tmp_path: Path, reupload: str
) -> None:
    put(tmp_path, "a.csv")
    put(tmp_path, "b.csv")
    source, stream = source_over(tmp_path), stream_of("*.csv", reupload=reupload)
    first = source.plan(stream, "increment", None, Claims())
    put(tmp_path, "a.csv", "a,b\n1,other\n")
    put(tmp_path, "c.csv")
    window = source.plan(stream, "increment", None, claims_of(first))
    assert planned(window) == (["c.csv"] if reupload == "ignore" else ["a.csv", "c.csv"])
    assert window.replaces == (reupload == "replace")
    assert (window.notes != ()) == (reupload == "ignore")


def test_many_files_become_slices_of_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SLICE_BYTES", 25)
    monkeypatch.setattr(files, "SLICE_FILES", 3)
    for number, size in enumerate([10, 10, 10, 100, 1, 1, 1, 1]):
        put(tmp_path, f"{number}.csv", b"x" * size)
    window = source_over(tmp_path).plan(stream_of("*"), "increment", None, Claims())
    sizes = [[path[0] for path, _ in part.spec["files"]] for part in window.slices]
    assert sizes == [["0", "1"], ["2"], ["3"], ["4", "5", "6"], ["7"]]
    assert [part.number for part in window.slices] == list(range(5))


def test_a_piece_never_spans_two_files_and_its_position_leads_to_the_next(
    tmp_path: Path,
) -> None:
    put(tmp_path, "a.csv", "a,b\n1,x\n2,x\n")
    put(tmp_path, "b.csv", "")
    put(tmp_path, "c.csv.gz", gzip.compress(b"c\n3\n4\n5\n"))
    put(tmp_path, "d.json", '[{"x":1}]')
    source, stream = source_over(tmp_path), stream_of("*")
    whole = read_all(source, stream)
    assert [(p.origin, p.rows) for p in whole.pieces] == [
        ("a.csv", 2),
        ("b.csv", 0),
        ("c.csv.gz", 3),
        ("d.json", 1),
    ]
    for index, piece in enumerate(whole.pieces[:-1]):
        rest = read_all(source, stream, position=piece.position)
        assert [p.origin for p in rest.pieces] == [p.origin for p in whole.pieces[index + 1 :]]


def test_a_limit_stops_after_so_many_rows_wherever_reading_starts(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "a,b\n" + "".join(f"{i},x\n" for i in range(100)))
    put(tmp_path, "b.ndjson", "".join(f'{{"i":{i}}}\n' for i in range(100)))
    for block_bytes in (None, 100):
        source = source_over(tmp_path, block_bytes)
        stream = stream_of("*", limit_rows=130)
        read = read_all(source, stream)
        assert len(read.good) == 130
        rest = read_all(source, stream, position=read.pieces[0].position)
        assert len(rest.good) == 130 - read.pieces[0].rows
    assert len(read_all(source_over(tmp_path), stream_of("*", limit_rows=3)).good) == 3


def test_a_file_that_is_gone_is_one_error_and_the_others_are_read(tmp_path: Path) -> None:
    for name in "abc":
        put(tmp_path, f"{name}.csv")
    source = source_over(tmp_path)
    (part,) = source.plan(stream_of("*"), "increment", None, Claims()).slices
    (tmp_path / "b.csv").unlink()
    read = read_slice(source, part, tmp_path / "made")
    assert read.bad == [(1, "the file is no longer there", None)]
    assert [p.origin for p in read.pieces] == ["a.csv", "b.csv", "c.csv"]
    assert len(read.good) == 2


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.zip", "a.csv.gz"])
def test_a_file_that_changed_since_it_was_claimed_is_one_error(tmp_path: Path, name: str) -> None:
    file = put(tmp_path, name)
    source, stream = source_over(tmp_path), stream_of("*")
    window = source.plan(stream, "increment", None, Claims())
    file.write_text("a,b\n1,x\n2,y\n")
    read = read_slice(source, window.slices[0], tmp_path / "made")
    ((line, error, _),) = read.bad
    assert (line, read.good) == (1, [])
    assert error.startswith("the file changed while it was read")
    again = source.plan(stream, "increment", None, claims_of(window))
    assert planned(again) == [name]


def test_a_file_that_grows_while_it_is_read_ends_in_an_error(tmp_path: Path) -> None:
    file = put(tmp_path, "a.csv", "a,b\n" + "1,x\n" * 500_000)
    source, stream = source_over(tmp_path, 100_000), stream_of("*")
    (part,) = source.plan(stream, "increment", None, Claims()).slices
    read = Read()
    for piece in source.read(stream, part, None, tmp_path / "made"):
        if not read.pieces:
            with file.open("a") as more:
                more.write("2,y\n")
        add_piece(read, piece)
    ((_, error, _),) = read.bad
    assert error.startswith("the file changed while it was read")
    assert read.pieces[-1].last


def test_a_parquet_file_that_is_replaced_while_it_is_read_ends_in_an_error(
    tmp_path: Path,
) -> None:
    numbers = "SELECT i FROM range({}) r(i)"
    file = put(tmp_path, "a.parquet", _parquet(tmp_path, numbers.format(900_000)))
    source, stream = source_over(tmp_path), stream_of("a.parquet")
    (part,) = source.plan(stream, "increment", None, Claims()).slices
    other = put(tmp_path, "other", _parquet(tmp_path, numbers.format(950_000)))
    read = Read()
    for piece in source.read(stream, part, None, tmp_path / "made"):
        if not read.pieces:
            other.replace(file)
        add_piece(read, piece)
    assert [error[:28] for _, error, _ in read.bad] == ["the file changed while it wa"]


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    source = source_over(tmp_path / "nowhere")
    with pytest.raises(Rejected) as raised:
        source.plan(stream_of("*"), "increment", None, Claims())
    assert str(raised.value) == (
        f"there is no folder {tmp_path}/nowhere\n"
        "  where: source uploads\n"
        "  fix:   make it, or correct the url of source uploads"
    )


def test_a_file_that_may_not_be_read_is_one_clear_error(tmp_path: Path) -> None:
    file = put(tmp_path, "a.csv")
    source, stream = source_over(tmp_path), stream_of("*")
    (part,) = source.plan(stream, "increment", None, Claims()).slices
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(Rejected, match=r"chmod a\+r"):
        list(source.read(stream, part, None, tmp_path / "made"))


def test_a_refusal_by_the_store_is_named_by_what_to_do(tmp_path: Path) -> None:
    root = source_over(tmp_path)._root
    with pytest.raises(Rejected) as raised, root._failures("a.csv"):
        raise PermissionError("Permission denied (os error 13)")
    assert str(raised.value) == (
        "a.csv may not be read\n"
        f"  where: source uploads: {tmp_path}, file a.csv\n"
        "  why:   Permission denied (os error 13)\n"
        f"  fix:   chmod a+r {tmp_path}/a.csv"
    )
    with pytest.raises(Transient, match=r"a\.csv could not be read"), root._failures("a.csv"):
        raise OSError("Input/output error")


def test_a_resume_reads_a_plain_file_from_its_place_on(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "a,b\n" + "1,x\n" * 1000)
    source, stream = source_over(tmp_path, 500), stream_of("*")
    position = read_all(source, stream).pieces[3].position
    (tmp_path / "a.csv").write_bytes(b"\xff" * 2004 + b"2,y\n" * 500)
    (part,) = source.plan(stream, "increment", None, Claims()).slices
    pieces = Read()
    for piece in source.read(stream, part, position, tmp_path / "made"):
        add_piece(pieces, piece)
    assert ([row["a"] for row in pieces.good], pieces.bad) == (["2"] * 500, [])


def test_a_folder_in_the_place_of_a_claimed_file_is_one_error(tmp_path: Path) -> None:
    file = put(tmp_path, "a.csv")
    source = source_over(tmp_path)
    (part,) = source.plan(stream_of("*"), "increment", None, Claims()).slices
    file.unlink()
    file.mkdir()
    assert [line for line, _, _ in read_slice(source, part, tmp_path / "made").bad] == [1]


def test_names_with_odd_characters_are_read(tmp_path: Path) -> None:
    names = ["a b.csv", "50%.csv", "x%20y.csv", "ü#x.csv", "a'b.csv", '"q".csv', "p';--.parquet"]
    for name in names:
        put(tmp_path, name)
    read = read_all(source_over(tmp_path), stream_of("*"))
    assert sorted(piece.origin for piece in read.pieces) == sorted(names)
    assert len(read.good) == len(names)


def test_a_url_must_be_given_and_known(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="has no url"):
        source_over(tmp_path, url="")
    with pytest.raises(SpecError, match="cannot be read from ftp://"):
        source_over(tmp_path, url="ftp://host/x")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"delimeter": ";"}, "did you mean delimiter"),
        ({"type": "xlsx"}, "one of csv, tsv, ndjson, json, parquet"),
        ({"delimiter": "||"}, "must be one character"),
        ({"encoding": "utf-9"}, "is not known"),
        ({"compression": "rar"}, "one of none, gzip"),
    ],
)
def test_a_format_that_cannot_be_is_refused(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    put(tmp_path, "a.csv")
    with pytest.raises(PenstockError, match=said):
        read_all(source_over(tmp_path), stream_of("*", format=options))


def test_describe_shows_the_columns_of_the_newest_file(tmp_path: Path) -> None:
    os.utime(put(tmp_path, "new.csv", "a,b,c\n1,2,3\n"), (2_000_000_000, 2_000_000_000))
    put(tmp_path, "old.csv", "a\n1\n")
    dataset = source_over(tmp_path).describe(stream_of("*.csv"))
    assert [f.name for f in dataset.fields] == ["a", "b", "c"]
    assert source_over(tmp_path).describe(stream_of("*.tsv")).fields == ()


def test_discover_groups_files_and_proposes_formats_and_types(tmp_path: Path) -> None:
    sales = "id;amount;at;ok;zip;who\n1;1,50;03.02.2024;true;0150;x\n2;12,5;13.02.2024;false;;y\n"
    for store in ("oslo", "bergen"):
        for day in ("20240101", "20240102"):
            put(tmp_path, f"stores/{store}/sales_{day}.csv", sales)
    put(tmp_path, "events.jsonl", '{"a":1}\n')
    put(tmp_path, "part-0001.csv", "day,t\n2024-01-01,2024-01-01T10:00:00Z\n")
    put(tmp_path, "part-0002.csv", "day,t\n2024-01-01,2024-01-01T10:00:00Z\n")
    put(tmp_path, "k_f744d6be-af0f-4caf-9076-4c1ffe724cb4.ndjson", '{"a":1}\n')
    put(tmp_path, "k_5482b83e-568c-44f4-856b-def89ca8ce49.ndjson", '{"a":1}\n')
    put(tmp_path, ".hidden.csv")
    put(tmp_path, "photo.jpg", bytes(range(32)) * 20)
    found = {dataset.name: dataset for dataset in source_over(tmp_path).discover()}
    assert {name: dataset.hints["from"] for name, dataset in found.items()} == {
        "sales": {
            "files": "stores/{folder}/sales_{date:%Y%m%d}.csv",
            "format": {"type": "csv", "delimiter": ";", "decimal": ","},
        },
        "events": {"files": "events.jsonl", "format": {"type": "ndjson"}},
        "part": {"files": "part-*.csv", "format": {"type": "csv"}},
        "k": {"files": "k_*.ndjson", "format": {"type": "ndjson"}},
        "photo": {"files": "photo.jpg"},
    }
    assert found["sales"].hints["columns"] == {
        "id": {"type": "bigint"},
        "amount": {"type": "decimal(18,2)"},
        "at": {"type": "date", "format": "%d.%m.%Y"},
        "ok": {"type": "boolean"},
    }
    assert found["part"].hints["columns"] == {
        "day": {"type": "date"},
        "t": {"type": "timestamptz"},
    }
    for dataset in found.values():
        source = source_over(tmp_path)
        window = source.plan(stream_of(dataset.hints["from"]["files"]), "increment", None, Claims())
        assert len(window.claims) == dataset.hints.get("files", 1)


def test_check_says_where_and_how_much(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", b"x" * 2048)
    assert source_over(tmp_path).check() == f"{tmp_path}: 1 files, 2 KiB"
    source_over(tmp_path).close()


def test_a_bucket_is_read_as_a_folder_is(s3: Any, tmp_path: Path) -> None:
    from obstore.store import S3Store

    options = {key: value for key, value in s3.options.items() if key != "endpoint"}
    store = S3Store(s3.name, endpoint=s3.endpoint, client_options={"allow_http": True}, **options)
    store.put("in/a.csv", b"a,b\n" + b"1,x\n" * 1000)
    store.put("in/b.csv.gz", gzip.compress(b"a,b\n2,y\n"))
    store.put("in/c.zip", _zip({"c.csv": b"a,b\n3,z\n"}))
    store.put("in/d.parquet", _parquet(tmp_path))
    store.put("elsewhere/x.csv", b"a\n1\n")
    source = source_over(tmp_path, 1000, url=f"{s3.url}in", **s3.options)
    stream = stream_of("*")
    window = source.plan(stream, "increment", None, Claims())
    assert [path for path, _ in window.claims] == ["a.csv", "b.csv.gz", "c.zip", "d.parquet"]
    read = read_all(source, stream)
    assert (len(read.good), read.bad) == (1003, [])
    for piece in read.pieces[:2]:
        rest = read_all(source, stream, position=piece.position)
        assert len(rest.good) == 1003 - piece.position["rows"]
    store.put("in/a.csv", b"a,b\n9,changed\n")
    stale = read_slice(source, window.slices[0], tmp_path / "made")
    assert [error[:31] for _, error, _ in stale.bad] == ["the file changed while it was r"]
    assert planned(source.plan(stream, "increment", None, claims_of(window))) == ["a.csv"]


def test_a_bucket_that_is_not_there_is_one_clear_error(s3: Any, tmp_path: Path) -> None:
    source = source_over(tmp_path, url=f"s3://{s3.name}-no/", **s3.options)
    with pytest.raises(PenstockError, match="source uploads"):
        source.check()


def _zip(members: dict[str, bytes]) -> bytes:
    import io
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def _parquet(folder: Path, query: str = "SELECT 4 a, 'p' b") -> bytes:
    import duckdb

    path = folder / "made.parquet"
    duckdb.connect().execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    content = path.read_bytes()
    path.unlink()
    return content
