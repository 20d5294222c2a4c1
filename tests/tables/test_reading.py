"""Foreign files: text stays text, the schema covers the whole file, and faults are named with their place."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eva_data.errors import DataError
from eva_data.tables.reading import Schema, open_path
from eva_data.tables.reading.json_values import Number, Values
from eva_data.tables.shapes.values import number, text


def texts(path: Path, *columns: str, encoding: str | None = None, split: str = "train") -> list[tuple[str | None, ...]]:
    """The texts of these columns, row by row."""
    source = open_path(path, "seeds.path", encoding=encoding, split=split)
    return source.collect(source.map(lambda frame, schema: frame.select(_texts(schema, columns)))).rows()


def _texts(schema: Schema, columns: tuple[str, ...]) -> list[pl.Expr]:
    return [text(pl.col(name), schema[name]).alias(name) for name in columns]


def wrong(path: Path, content: bytes | str, encoding: str | None = None) -> str:
    """The error for a file with this content, without its folder."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        texts(path, "prompt", encoding=encoding)
    return str(caught.value).replace(f"{path.parent}/", "")


ROWS = [("007", "1.50"), ("7", "x"), (None, "Zürich\n„a“, b")]
"""What each of the next files holds."""

CSV = 'prompt,response\r\n007,1.50\r\n7,x\r\n,"Zürich\n„a“, b"\r\n'
LINES = "".join(json.dumps({"prompt": prompt, "response": response}) + "\n" for prompt, response in ROWS)
ARRAY = json.dumps([{"response": response, "prompt": prompt} for prompt, response in ROWS], indent=1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV.encode()),
        ("bom.csv", CSV.encode("utf-8-sig")),
        ("utf16.csv", CSV.encode("utf-16")),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("a.tsv", CSV.replace("0,1", "0\t1").replace(",r", "\tr").replace("7,", "7\t").replace("\n,", "\n\t").encode()),
        ("semicolons.csv", CSV.replace("„a“, b", "„a“# b").replace(",", ";").replace("#", ",").encode()),
        ("a.jsonl", LINES.encode()),
        ("bom.jsonl", LINES.encode("utf-8-sig")),
        ("utf16.jsonl", LINES.encode("utf-16")),
        ("no-bom.jsonl", LINES.encode("utf-16-le")),
        ("a.ndjson", LINES.replace("\n", "\r\n\r\n").encode()),
        ("lines.json", LINES.encode()),
        ("array.json", ARRAY.encode()),
        ("array.jsonl", ARRAY.encode()),
        ("spread.json", ARRAY.strip("[]").replace("},", "}").encode()),
        ("inside.json", f'{{"data": {ARRAY}}}'.encode()),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("a.jsonl.bz2", bz2.compress(LINES.encode())),
        ("a.json.xz", lzma.compress(ARRAY.encode())),
    ],
)
def test_text_comes_back_character_for_character_from_every_text_format(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    assert texts(tmp_path / name, "prompt", "response") == ROWS


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".feather"])
def test_columns_of_every_kind_of_text_are_text(tmp_path: Path, suffix: str) -> None:
    frame = pl.DataFrame(
        {
            "plain": ["007", None],
            "category": pl.Series(["a", "b"], dtype=pl.Categorical),
            "choice": pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])),
            "whole": [7, None],
            "decimal": [7.0, 7.25],
            "truth": [True, False],
            "nothing": [None, None],
        }
    )
    path = tmp_path / f"a{suffix}"
    frame.write_parquet(path) if suffix == ".parquet" else frame.write_ipc(path)
    assert texts(path, *frame.columns) == [
        ("007", "a", "a", "7", "7.0", "true", None),
        (None, "b", "b", None, "7.25", "false", None),
    ]


def test_a_text_file_is_a_prompt_per_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("007\r\n\n  indented \nlast", newline="")
    assert texts(path, "prompt") == [("007",), ("",), ("  indented ",), ("last",)]


def test_numbers_keep_their_digits_whatever_the_other_rows_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"prompt": 7}\n{"prompt": 7.0}\n{"prompt": "007"}\n{"prompt": 12345678901234567890123}\n{"prompt": true}\n'
        '{"prompt": NaN}\n{"prompt": "NaN"}\n{"prompt": 1e3}\n{"prompt": [1]}\n{}\n'
    )
    found = [row[0] for row in texts(path, "prompt")]
    assert found == ["7", "7.0", "007", "12345678901234567890123", "true", None, "NaN", "1e3", None, None]
    source = open_path(path, "seeds.path")
    numbers = source.collect(source.map(lambda frame, schema: frame.select(number(pl.col("prompt"), schema["prompt"]))))
    assert numbers.to_series().to_list()[:2] == [7.0, 7.0]
    assert numbers.to_series().is_nan().to_list()[5]


def test_the_schema_is_that_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        file.writelines('{"prompt": "x"}\n' for _ in range(100_000))
        file.write('{"prompt": "y", "late": {"deep": [1, "a"]}, "also": "z"}\n')
    source = open_path(path, "seeds.path")
    assert list(source.schema) == ["prompt", "late", "also"]
    assert texts(path, "also")[-1] == ("z",)


def test_a_csv_may_turn_to_text_late(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt\n" + "1\n" * 50_000 + "word\n")
    assert texts(path, "prompt")[-2:] == [("1",), ("word",)]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "a.jsonl",
            '{"prompt": "a"}\n\n{"prompt": "b}\n{"prompt": "c"}\n',
            "`seeds.path`: a.jsonl, line 3: this is not JSON: invalid control character; mend the line, or take it out",
        ),
        (
            "a.json",
            '[{"prompt": "a"},\n {"prompt": "b"}\n {"prompt": "c"}]',
            "`seeds.path`: a.json, line 3: this is not JSON: expected a comma or the array's end; mend the line, or "
            "take it out",
        ),
        (
            "a.json",
            '[{"prompt": "a"}',
            "`seeds.path`: a.json, line 1: this is not JSON: the array has no end; mend the line, or take it out",
        ),
        (
            "a.jsonl",
            '{"prompt": "a"}\n7\n',
            "`seeds.path`: a.jsonl, row 2 (line 2) is a number: expected an object such as "
            '{"prompt": "..."}, or a text',
        ),
        (
            "deep.jsonl",
            "[" * 100_000,
            "`seeds.path`: deep.jsonl, line 1: this is not JSON: values are nested too deeply to be a table; mend the "
            "line, or take it out",
        ),
        (
            "a.csv",
            "prompt,n\na,1\nb,2,3\n",
            "`seeds.path`: a.csv, line 3 has 3 fields, but there are 2 columns: put a field that holds the separator "
            "or a line break in double quotes",
        ),
        (
            "a.csv",
            'prompt,n\na,1\n"b,2\nc,3\n',
            "`seeds.path`: a.csv, the row that begins in line 3 is not CSV (unexpected end of data): put a field that "
            "holds a quote in double quotes and write the quote twice",
        ),
        (
            "a.csv",
            "\nprompt\n",
            "`seeds.path`: a.csv begins with an empty line: expected the names of its columns there",
        ),
        (
            "latin.csv",
            "prompt\na\ncaf\xe9\n".encode("latin-1"),
            "`seeds.path`: latin.csv is not UTF-8 text: the byte 0xe9 in line 3 (it may be Latin-1 or Windows-1252); "
            "save it as UTF-8, or name what it is as `seeds.encoding`, such as latin-1 or cp1252",
        ),
        (
            "cut.jsonl.gz",
            gzip.compress(b'{"prompt": "a"}\n' * 100, mtime=0)[:-9],
            "`seeds.path`: cut.jsonl.gz is compressed, and cannot be unpacked (Compressed file ended before the "
            "end-of-stream marker was reached): it is cut off or damaged, copy it again",
        ),
        ("blank.jsonl", " \n", "`seeds.path` is blank.jsonl, and it holds no rows: expected at least one"),
        ("empty.csv", "", "`seeds.path` is empty.csv, and the file is empty"),
        (
            "a.jsonl.zst",
            "x",
            "`seeds.path` is a.jsonl.zst: expected a file that ends in .parquet, .jsonl, .ndjson, .json, .csv, .tsv, "
            ".txt, .arrow, .feather, or a text file compressed as .gz, .bz2, .xz",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(
    tmp_path: Path, name: str, content: str | bytes, sentence: str
) -> None:
    assert wrong(tmp_path / name, content) == sentence


@pytest.mark.parametrize(("name", "kind"), [("torn.parquet", "parquet"), ("torn.arrow", "arrow")])
def test_a_damaged_table_is_one_sentence(tmp_path: Path, name: str, kind: str) -> None:
    said = wrong(tmp_path / name, b"PAR1 and nothing else")
    assert said.startswith(f"`seeds.path` is {name}, which cannot be read as {kind}: ")
    assert said.endswith("; write the file again, or name it by what it is")


def test_damage_inside_a_shard_names_the_shard(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pl.DataFrame({"prompt": ["x" * 100, "y"]}).write_parquet(tmp_path / f"{name}.parquet")
    whole = (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[:20] + b"\xff" * 30 + whole[50:])
    with pytest.raises(DataError, match=r"`seeds.path` is .*b\.parquet, which cannot be read as parquet: "):
        texts(tmp_path, "prompt")


def test_an_encoding_can_be_named_and_a_wrong_name_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("prompt\nca\xe9\n".encode("latin-1"))
    assert texts(path, "prompt", encoding="latin-1") == [("caé",)]
    said = wrong(path, path.read_bytes(), encoding="martian")
    assert said == "`encoding` is `martian`, which is no encoding: write utf-8, latin-1 or cp1252"


def test_half_a_surrogate_pair_is_replaced_and_told_of(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "\\ud83d"}\n{"prompt": "\\ud83d\\ude00"}\n')
    assert texts(path, "prompt") == [("\ufffd",), ("😀",)]
    assert open_path(path, "k").notes == ("a.jsonl: half a surrogate pair became U+FFFD in 1 rows",)


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=6), encoding=st.sampled_from(["utf-8", "utf-16"]))
def test_any_texts_survive_csv_and_json(tmp_path: Path, rows: list[tuple[str, str]], encoding: str) -> None:
    table, lines = tmp_path / f"a-{encoding}.csv", tmp_path / f"a-{encoding}.jsonl"
    with table.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("prompt", "response"), *rows])
    lines.write_text("\n".join(json.dumps(dict(zip(("prompt", "response"), row, strict=True))) for row in rows))
    assert texts(table, "prompt", "response") == texts(lines, "prompt", "response") == rows


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
def test_values_are_the_same_however_the_file_is_cut_into_pieces(piece: int) -> None:
    class Pieces:
        def __init__(self, content: str) -> None:
            self.rest = content

        def read(self, _: int) -> str:
            read, self.rest = self.rest[:piece], self.rest[piece:]
            return read

    array = '[{"a": "x\\u00e9\\n", "b": [1.50, -2e3, true, null]}, "text", 12, {"c": {"d": "e"}}]'
    expected = [{"a": "xé\n", "b": ["1.50", "-2e3", True, None]}, "text", "12", {"c": {"d": "e"}}]
    found = list(Values(Pieces(array), "a"))  # type: ignore[arg-type]
    assert found == expected
    assert isinstance(found[2], Number)
    spread = '{"a": "x\\u00e9\\n", "b": [1.50,\n -2e3, true, null]}\n"text"\n\n12\t{"c":\n {"d": "e"}}'
    assert list(Values(Pieces(spread), "a")) == expected  # type: ignore[arg-type]
