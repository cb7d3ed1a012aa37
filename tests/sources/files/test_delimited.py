"""CSV and TSV: every record is a row or an error with its line; nothing else happens."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from penstock.ports import Claims
from penstock.sources.formats.raw import MAX_RECORD_BYTES

from .support import Read, read_all, read_text, rows_of, source_over, stream_of


def reference(text: str, **options: object) -> list[tuple[str, ...]]:
    """The records after the header, as Python's own reader has them."""
    rows = csv.reader(io.StringIO(text, newline=""), **options)  # type: ignore[arg-type]
    return [tuple(row) for row in rows if row][1:]


def emptied(values: list[tuple[str | None, ...]]) -> list[tuple[str, ...]]:
    """The rows with NULL as Python's reader shows it."""
    return [tuple(value or "" for value in row) for row in values]


REGULAR = {
    "plain": "a,b\n1,x\n2,y\n",
    "no line end at the end": "a,b\n1,x\n2,y",
    "crlf": "a,b\r\n1,x\r\n2,y\r\n",
    "cr": "a,b\r1,x\r2,y\r",
    "all line ends mixed": "a,b\r\n1,x\n2,y\r3,z\r\n4,w",
    "quoted": '"a","b"\n"1","x"\n"2","y, z"\n',
    "quoted line ends": 'a,b\n1,"x\ny"\n2,"p\r\nq\rr"\n3,z\n',
    "doubled quotes": 'a,b\n1,"say ""hi"""\n2,""""\n3,z\n',
    "quotes inside a field": 'a,b\n1,5" pipe\n2,y\n',
    "spaces are kept": "a,b\n 1 , x\n2, y \n",
    "a space before a quote": 'a,b\n1, "x"\n2,y\n',
    "blank lines": "a,b\n\n1,x\n\n\n2,y\n\n",
    "one column": "a\nx\n\ny\n",
    "empty fields": "a,b,c\n,,\n1,,3\n",
    "text beyond ASCII": "name,ort\nJosé,Zürich\nنور,東京\n😀,x\n",
}


@pytest.mark.parametrize("text", REGULAR.values(), ids=REGULAR.keys())
@pytest.mark.parametrize("block_bytes", [None, 7])
def test_well_formed_files_read_as_pythons_reader_reads_them(
    tmp_path: Path, text: str, block_bytes: int | None
) -> None:
    read = read_text(tmp_path, text.encode(), block_bytes=block_bytes, header=True)
    assert emptied(read.values) == reference(text)
    assert read.bad == []


LINES = {
    'a,b\n1,"x\ny"\n2,z\n': [2, 4],
    "a,b\n\n1,x\n\n2,y\n": [3, 5],
    "a,b\r1,x\r\n2,y\n": [2, 3],
    '"a\nb",c\n1,2\n': [3],
    'a,b\n1,"p\rq"\n2,z\n': [2, 4],
}


@pytest.mark.parametrize(("text", "lines"), LINES.items())
@pytest.mark.parametrize("block_bytes", [None, 9])
def test_a_row_has_the_line_on_which_its_record_begins(
    tmp_path: Path, text: str, lines: list[int], block_bytes: int | None
) -> None:
    read = read_text(tmp_path, text.encode(), block_bytes=block_bytes, header=True)
    assert read.lines == lines


def test_an_unquoted_empty_field_is_null_and_a_quoted_one_is_empty(tmp_path: Path) -> None:
    text = b'a,b,c\n1,,""\n2,"x\ny",""\n3,"",\n'
    for content in (text, text.replace(b"x\ny", b"xy")):
        read = read_text(tmp_path, content)
        assert [(row["b"], row["c"]) for row in read.good][::2] == [(None, ""), ("", None)]
        assert read.good[1]["c"] == ""


def test_null_values_are_null_unless_quoted(tmp_path: Path) -> None:
    for more in ("", '9,"x\ny"\n'):
        text = 'a,b\n1,NA\n2,"NA"\n3,\n4,-\n' + more
        read = read_text(tmp_path, text.encode(), null_values=["NA", "-"], header=True)
        assert [row["b"] for row in read.good][:4] == [None, "NA", None, None]


BROKEN = {
    "too many columns": ("a,b\n1,2,3\n4,5\n", [(2, "3 columns instead of 2", "1,2,3")], 1),
    "too few columns": ("a,b\n1\n4,5\n", [(2, "1 columns instead of 2", "1")], 1),
    "unclosed quote at the start": (
        'a,b\n1,"2\n3,4\n5,6\n',
        [(2, "unclosed quote", '1,"2')],
        2,
    ),
    "unclosed quote in the middle": (
        'a,b\n1,2\n3,"abc\n4,5\n6,"x"\n7,8\n',
        [(3, "text after a closing quote", '3,"abc')],
        4,
    ),
    "unclosed quote at the end": ('a,b\n1,2\n3,"x', [(3, "unclosed quote", '3,"x')], 1),
    "text after a closing quote": (
        'a,b\n1,"x"y\n2,z\n',
        [(2, "text after a closing quote", '1,"x"y')],
        1,
    ),
    "NUL": ("a,b\n1,x\0y\n2,z\n", [(2, "NUL byte", "1,x␀y")], 1),
    "several": (
        'a,b\n1\n2,3\n4,5,6\n7,"\n8,9\n',
        [
            (2, "1 columns instead of 2", "1"),
            (4, "3 columns instead of 2", "4,5,6"),
            (5, "unclosed quote", '7,"'),
        ],
        2,
    ),
}


@pytest.mark.parametrize(("text", "bad", "good"), BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_record_that_cannot_be_read_is_an_error_of_its_line(
    tmp_path: Path, text: str, bad: list[tuple[int, str, str]], good: int, line_end: str
) -> None:
    read = read_text(tmp_path, text.replace("\n", line_end).encode(), header=True)
    assert read.bad == bad
    assert len(read.good) == good


def test_bytes_that_are_not_utf8_are_an_error_of_their_line_when_others_are(
    tmp_path: Path,
) -> None:
    read = read_text(tmp_path, b"a,b\n1,caf\xe9\n2,caf\xc3\xa9\n3,x\n")
    assert read.bad == [(2, "bytes that are not utf-8", "1,caf?")]
    assert read.values == [("2", "café"), ("3", "x")]


ENCODED = {
    "utf-8 with a mark": ("utf-8-sig", {}),
    "utf-16 with a mark": ("utf-16", {}),
    "utf-16-be with a mark": ("utf-16-be", {}),
    "utf-16-le without a mark": ("utf-16-le", {}),
    "cp1252 found out": ("cp1252", {}),
    "latin1 as told": ("latin1", {"encoding": "latin1"}),
    "cp437 as told": ("cp437", {"encoding": "cp437"}),
}


@pytest.mark.parametrize(("encoding", "told"), ENCODED.values(), ids=ENCODED.keys())
@pytest.mark.parametrize("block_bytes", [None, 11])
def test_every_encoding_reads_alike(
    tmp_path: Path, encoding: str, told: dict[str, str], block_bytes: int | None
) -> None:
    content = "name,ort\nJosé,Zürich\nÄnne,Köln\n".encode(encoding)
    if encoding == "utf-16-be":
        content = b"\xfe\xff" + content
    read = read_text(tmp_path, content, block_bytes=block_bytes, **told)
    assert [f.name for f in read.fields] == ["name", "ort"]
    assert read.values == [("José", "Zürich"), ("Änne", "Köln")]


def test_text_that_looks_binary_is_read_in_the_encoding_it_is_said_to_have(
    tmp_path: Path,
) -> None:
    content = "名前,値\n東京,一\n".encode("utf-16-le")
    read = read_text(tmp_path, content, encoding="utf-16-le", header=True)
    assert read.values == [("東京", "一")]


def test_an_encoding_shows_itself_only_in_a_later_block(tmp_path: Path) -> None:
    rows = [f"{i},plain" for i in range(50_000)]
    content = ("a,b\n" + "\n".join(rows) + "\n").encode() + b"x,caf\xe9\n"
    read = read_text(tmp_path, content, block_bytes=64 << 10)
    assert read.good[-1]["b"] == "café"
    assert read.bad == []


def test_bytes_that_are_none_of_the_encoding_are_an_error(tmp_path: Path) -> None:
    content = "a,b\n1,é\n".encode("utf-16") + b"\x00\xd8" + "2,x\n3,y\n".encode("utf-16-le")
    read = read_text(tmp_path, content)
    assert [(line, error) for line, error, _ in read.bad] == [(3, "bytes that are not utf-16")]
    assert len(read.good) == 2


@pytest.mark.parametrize("content", [b"", b"\n\n\n", b"\xef\xbb\xbf", b"a,b\n", b"a,b"])
def test_a_file_without_records_is_one_piece_without_rows(tmp_path: Path, content: bytes) -> None:
    read = read_text(tmp_path, content)
    assert [piece.rows for piece in read.pieces] == [0]
    assert [f.name for f in read.fields] == (["a", "b"] if b"a" in content else [])


def test_names_are_the_headers_made_unique_and_none_empty(tmp_path: Path) -> None:
    read = read_text(tmp_path, b"a,a,, ,A,a_2\n1,2,3,4,5,6\n", header=True)
    names = [f.name for f in read.fields]
    assert names == ["a", "a_2", "column_3", "column_4", "A_3", "a_2_2"]
    assert read.values == [("1", "2", "3", "4", "5", "6")]


def test_a_reserved_column_name_is_an_error_of_the_file(tmp_path: Path) -> None:
    read = read_text(tmp_path, b"a,_penstock_line\n1,2\n")
    assert read.bad == [(1, "the column name _penstock_line is reserved", None)]
    assert read.good == []


def test_a_header_that_cannot_be_read_is_an_error_of_the_file(tmp_path: Path) -> None:
    read = read_text(tmp_path, b'a,"b"x\n1,2\n', header=True)
    assert read.bad == [
        (1, "the header cannot be read: text after a closing quote", 'a,"b"x'),
    ]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"1,2\n3,4\n", ["column_1", "column_2"]),
        (b"a,b\nc,d\n", ["a", "b"]),
        (b"name,2019,2020\nx,1,2\n", ["column_1", "column_2", "column_3"]),
        (b"id,day\n1,2024-01-02\n", ["id", "day"]),
        (b"only\n", ["only"]),
    ],
)
def test_a_header_is_found_out(tmp_path: Path, content: bytes, names: list[str]) -> None:
    assert [f.name for f in read_text(tmp_path, content).fields] == names


def test_what_the_format_says_wins(tmp_path: Path) -> None:
    read = read_text(tmp_path, b"a,b\n1,2\n", header=False, columns=["x", "y"])
    assert [f.name for f in read.fields] == ["x", "y"]
    assert read.values == [("a", "b"), ("1", "2")]
    read = read_text(tmp_path, b"a;b,c\n1;2,3\n", delimiter=",")
    assert read.values == [("1;2", "3")]
    read = read_text(tmp_path, b'a,b\n"1,2\n', quote="", header=True)
    assert read.values == [('"1', "2")]
    read = read_text(tmp_path, b"junk\nmore junk\na,b\n1,2\n", skip_rows=2)
    assert (read.values, read.lines) == ([("1", "2")], [4])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_out(tmp_path: Path, delimiter: str) -> None:
    text = "id,amount,note\n1,5.50,x y\n2,7.25,z\n".replace(",", delimiter)
    assert read_text(tmp_path, text.encode()).values == [("1", "5.50", "x y"), ("2", "7.25", "z")]


def test_decimal_commas_do_not_hide_a_semicolon(tmp_path: Path) -> None:
    read = read_text(tmp_path, b"a;b;c\n1,5;2,5;3,5\n4,5;5,5;6,5\n")
    assert read.values == [("1,5", "2,5", "3,5"), ("4,5", "5,5", "6,5")]


def test_excels_separator_line_is_obeyed(tmp_path: Path) -> None:
    read = read_text(tmp_path, b"sep=;\r\na;b\r\n1;2,3\r\n")
    assert (read.values, read.lines) == ([("1", "2,3")], [3])


def test_backslash_escapes_are_found_out(tmp_path: Path) -> None:
    read = read_text(tmp_path, b'a,b\n1,"say \\"hi\\", ok"\n2,y\n', block_bytes=10)
    assert read.values == [("1", 'say "hi", ok'), ("2", "y")]


def test_single_quotes_are_found_out(tmp_path: Path) -> None:
    read = read_text(tmp_path, b"'a','b'\n'1','x, y'\n'2','z'\n")
    assert read.values == [("1", "x, y"), ("2", "z")]


@pytest.mark.parametrize("block_bytes", [None, 12])
def test_commented_lines_are_passed_over_whatever_is_in_them(
    tmp_path: Path, block_bytes: int | None
) -> None:
    content = b'# it\'s "open\na,b\n1,x # kept\n#,"\n2,"y\n# inside"\n'
    read = read_text(tmp_path, content, comment="#", block_bytes=block_bytes)
    assert read.values == [("1", "x # kept"), ("2", "y\n# inside")]
    assert (read.lines, read.bad) == ([3, 5], [])


def test_a_field_of_ten_megabytes_is_read(tmp_path: Path) -> None:
    long = b"x" * (10 << 20)
    read = read_text(tmp_path, b'a,b\n1,"' + long + b'"\n2,y\n')
    assert [len(row["b"]) for row in read.good] == [10 << 20, 1]


def test_a_line_without_an_end_is_one_error_and_the_next_is_read(tmp_path: Path) -> None:
    endless = b"x" * (MAX_RECORD_BYTES + 100_000)
    read = read_text(tmp_path, b"a,b\n1," + endless + b"\n2,y\n", block_bytes=4 << 20)
    assert [(line, error) for line, error, _ in read.bad] == [(2, "record longer than 16 MiB")]
    assert (read.values, read.lines) == ([("2", "y")], [3])


def test_an_unclosed_quote_does_not_swallow_the_blocks_after_it(tmp_path: Path) -> None:
    good = [f"{i},{'y' * 1990}" for i in range(20_000)]
    content = 'a,b\n0,"open\n' + "\n".join(good) + "\n"
    assert len(content) > 2 * MAX_RECORD_BYTES
    read = read_text(tmp_path, content.encode(), block_bytes=2 << 20)
    assert read.bad == [(2, "unclosed quote", '0,"open')]
    assert len(read.good) == len(good)
    assert read.lines[:2] == [3, 4]
    assert len(read.pieces) > 2  # not one block of all that is left


def test_raw_text_of_an_error_is_of_bounded_size(tmp_path: Path) -> None:
    read = read_text(tmp_path, b"a,b\n" + b"x" * 100_000 + b"\n1,2\n", header=True)
    (_, error, raw), *_ = read.bad
    assert error == "1 columns instead of 2"
    assert raw is not None
    assert len(raw) < 5000
    assert raw.endswith("(100000 characters)")


def test_values_stay_as_they_are_written(tmp_path: Path) -> None:
    text = 'a,b\n"1,234.50",007\n123456789012345678901234567890,1e400\n0x1F,-0\n'
    assert emptied(read_text(tmp_path, text.encode()).values) == reference(text)


PIECES = ["a", "b1", "é", ",", ";", '"', "\n", "\r\n", " ", "\t", "#", "'"]
FIELD = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, int]:
    width = draw(st.integers(2, 4))
    rows = draw(st.lists(st.lists(FIELD, min_size=width, max_size=width), max_size=12))
    out = io.StringIO(newline="")
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    writer = csv.writer(out, quoting=quoting, lineterminator=end)
    writer.writerow([f"c{i}" for i in range(width)])
    writer.writerows(rows)
    return out.getvalue(), draw(st.integers(8, 80))


@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@given(files())
def test_pieces_of_any_size_together_are_the_file_and_any_resume_gives_the_rest(
    example: tuple[str, int],
) -> None:
    text, block_bytes = example
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        read = read_text(
            folder, text.encode(), block_bytes=block_bytes, header=True, delimiter=",", quote='"'
        )
        assert emptied(read.values) == reference(text)
        assert read.bad == []
        check_resumes(folder, read, block_bytes, header=True, delimiter=",", quote='"')


def check_resumes(folder: Path, read: Read, block_bytes: int, **fmt: object) -> None:
    """From every piece's position, what is read is what came after it."""
    source, stream = source_over(folder, block_bytes), stream_of("*", format=fmt)
    counts = [piece.rows for piece in read.pieces]
    rows = sorted([*read.lines, *(line for line, _, _ in read.bad)])
    for index, piece in list(enumerate(read.pieces[:-1]))[:: max(1, len(counts) // 3)]:
        rest = read_all(source, stream, position=piece.position)
        assert [p.rows for p in rest.pieces] == counts[index + 1 :]
        assert [p.position for p in rest.pieces] == [p.position for p in read.pieces[index + 1 :]]
        lines = sorted([*rest.lines, *(line for line, _, _ in rest.bad)])
        assert lines == rows[sum(counts[: index + 1]) :]


@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@given(st.text(st.sampled_from('ab,"\n\r\0x '), max_size=60), st.integers(5, 40))
def test_any_text_at_all_is_read_alike_in_blocks_of_any_size(text: str, block_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content = ("a,b\n" + text).encode()
        whole = read_text(folder, content, header=True, delimiter=",", quote='"')
        blocks = read_text(
            folder, content, block_bytes=block_bytes, header=True, delimiter=",", quote='"'
        )
        assert (blocks.values, blocks.bad) == (whole.values, whole.bad)
        check_resumes(folder, blocks, block_bytes, header=True, delimiter=",", quote='"')


def test_the_same_slice_gives_the_same_pieces_twice(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n" + "".join(f"{i},x\n" for i in range(1000)))
    source, stream = source_over(tmp_path, 500), stream_of("*")
    slices = source.plan(stream, "increment", None, Claims()).slices
    first, second = (
        [
            (piece.position, [row["a"] for row in rows_of(piece.path)])
            for piece in source.read(stream, slices[0], None, tmp_path / "made")
        ]
        for _ in range(2)
    )
    assert first == second
