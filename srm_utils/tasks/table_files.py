"""Tables as people keep them: CSV, JSON, JSON lines and Parquet files, read into numbered rows.

Every row knows its place in the file, so that whatever is wrong with it can be told in one sentence.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMS = ("csv", "json", "jsonl", "parquet")

_SUFFIXES = {
    ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".txt": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
#: A byte-order mark and the encoding that it stands for; the longer marks first.
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_DELIMITERS = (",", ";", "\t", "|")
#: Records that are looked at to find the delimiter.
_SNIFFED = 50


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: its number from 1 (a header is not counted), its place in words, its cells by column."""

    number: int
    place: str
    fields: Mapping[str, Any]


def read_rows(path: Path, form: str | None = None) -> list[Row]:
    """The rows of a file. Its ending says what it is, unless `form` does ("csv", "json", "jsonl" or "parquet").

    CSV may be separated by commas, semicolons, tabs or bars. JSON may be a list of objects, an object that holds such
    a list, objects under ids, or one list a column. Raises FileNotFoundError for a path that is not there and
    ValueError for a file that cannot be read, with the line where it goes wrong.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "two.csv"
    >>> _ = file.write_text("question,answer\\nWhat is 2 + 3?,5\\n"); read_rows(file)[0].place[:16]
    'Row 1 (line 2) o'
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no file {str(path)!r}; check the path.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file in it.")
    form = form or form_of(path)
    if form is None:
        raise ValueError(f"{path} ends in none of {', '.join(_SUFFIXES)}; rename it, or save it in one of these forms.")
    if form == "parquet":
        rows = list(_parquet(path))
    else:
        text = _text(path)
        if not text.strip():
            raise ValueError(f"{path} holds no rows: it is empty. Give a file with a row for each question.")
        if form == "csv":
            rows = list(_csv(text, path))
        else:
            rows = list(_json(text, path) if form == "json" else _json_lines(text, path))
            if "\\ud" in text.lower():
                rows = [Row(row.number, row.place, _mended(row.fields)) for row in rows]
    if not rows:
        raise ValueError(f"{path} holds no rows; give a file with a row for each question.")
    return rows


def form_of(path: Path) -> str | None:
    """The form that a file's ending stands for; None for an unknown one.

    >>> form_of(Path("mine.tsv")), form_of(Path("mine.doc"))
    ('csv', None)
    """
    return _SUFFIXES.get(path.suffix.lower())


def is_missing(value: Any) -> bool:
    """Whether a cell is empty: None, not a number, or text without a character.

    >>> is_missing(float("nan")), is_missing(" "), is_missing(0)
    (True, True, False)
    """
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(path: Path) -> str:
    data = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"Line {line} of {path} is not UTF-8 text; save the file as UTF-8.") from None
    if "\0" in text:
        raise ValueError(f"{path} is not a text file; save the table as CSV, JSON or Parquet.")
    return text


# ---------------------------------------------------------------- CSV


def _csv(text: str, path: Path) -> Iterator[Row]:
    delimiter, skipped = None, 0
    first = text.split("\n", 1)[0].strip()
    if first.lower().startswith("sep=") and len(first) == 5:  # a line that spreadsheets write and hide
        delimiter, text, skipped = first[4], text.split("\n", 1)[-1], 1
    delimiter = delimiter or _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    number, line = 0, skipped + 1
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            where = f"Row {number + 1} (line {line})" if header else f"The header (line {line})"
            why = "a quotation mark that does not close" if "end of data" in str(error) else f"a fault ({error})"
            raise ValueError(
                f"{where} of {path} has {why}; put the whole text in quotation marks and double those inside."
            ) from None
        if record is None:
            break
        place, line = f"Row {number + 1} (line {line}) of {path}", skipped + reader.line_num + 1
        if not any(cell.strip() for cell in record):
            continue
        if not header:
            header = [name.strip() for name in record]
            twice = [name for name in header if name and header.count(name) > 1]
            if twice:
                raise ValueError(f"{path} has two columns named {twice[0]!r}; rename one of them.")
            continue
        number += 1
        if any(cell.strip() for cell in record[len(header) :]):
            raise ValueError(
                f"{place} has {len(record)} fields and the header has {len(header)}; "
                f"put a text that holds {delimiter!r} in quotation marks."
            )
        cells = [*record, *[""] * (len(header) - len(record))]
        yield Row(number, place, {name: cell for name, cell in zip(header, cells, strict=False) if name})
    if header and not number:
        raise ValueError(f"{path} holds a header and no rows; add a row for each question.")


def _delimiter(text: str) -> str:
    """The separator at which most records have as many fields as the header; of equals, the one with most fields."""

    def fit(delimiter: str) -> tuple[float, int]:
        records = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            widths = [len(record) for record, _ in zip(records, range(_SNIFFED), strict=False) if record]
        except csv.Error:
            return 0.0, 0
        wide = widths[0] if widths else 0
        return (sum(w == wide for w in widths) / len(widths), wide) if wide > 1 else (0.0, 0)

    return max(_DELIMITERS, key=fit)


# ---------------------------------------------------------------- JSON and Parquet


def _loaded(text: str) -> Any:
    """The value of a JSON text; every fault is a ValueError, with the line in `lineno` where json knows it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _json(text: str, path: Path) -> Iterator[Row]:
    try:
        value = _loaded(text)
    except ValueError as error:
        if _is_object(text.lstrip().partition("\n")[0]):
            yield from _json_lines(text, path)
            return
        at = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else f" ({error})"
        raise ValueError(f"{path} is broken JSON{at}; repair it or get it again.") from None
    for number, fields in enumerate(_table(value, path), 1):
        yield _row(fields, number, f"Row {number} of {path}")


def _json_lines(text: str, path: Path) -> Iterator[Row]:
    number = 0
    for at, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        number += 1
        try:
            fields = _loaded(line)
        except ValueError:
            if number == 1 and text.lstrip()[0] in "[{" and _is_json(text):
                yield from _json(text, path)
                return
            raise ValueError(f"Line {at} of {path} is broken JSON; repair it or get the file again.") from None
        if number == 1 and isinstance(fields, list) and _is_json(text):
            yield from _json(text, path)
            return
        yield _row(fields, number, f"Row {number}{f' (line {at})' if at != number else ''} of {path}")


def _is_json(text: str) -> bool:
    try:
        _loaded(text)
    except ValueError:
        return False
    return True


def _is_object(line: str) -> bool:
    return line.startswith("{") and _is_json(line)


def _table(value: Any, path: Path) -> Sequence[Any]:
    """The rows in a JSON value: see `read_rows`."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        lists = [v for v in value.values() if isinstance(v, list)]
        of_objects = [v for v in lists if v and all(isinstance(item, dict) for item in v)]
        if len(of_objects) == 1:
            return of_objects[0]
        if value and all(isinstance(v, dict) for v in value.values()):
            return [{"id": key, **fields} for key, fields in value.items()]
        if lists and not any(lists):
            return []
        if not of_objects and len(lists) == len(value) > 1 and len({len(v) for v in lists}) == 1:
            return [dict(zip(value, cells, strict=True)) for cells in zip(*lists, strict=True)]
        if not of_objects and len(lists) < len(value):  # one row that was written without its brackets
            return [value]
    raise ValueError(f"{path} holds no list of rows; give a JSON list of objects, one for each question.")


def _row(fields: Any, number: int, place: str) -> Row:
    if not isinstance(fields, dict):
        raise ValueError(f'{place} is not an object with fields; write it as {{"question": …, "answer": …}}.')
    return Row(number, place, fields)


def _mended(value: Any) -> Any:
    """A value whose halves of characters (lone surrogates, which no file and no tokenizer can hold) are replaced."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(k): _mended(v) for k, v in value.items()}
    return value


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as parquet

    try:
        cells = parquet.ParquetFile(path).read().to_pylist()
    except Exception as error:  # Arrow raises many kinds
        raise ValueError(f"{path} is not a readable Parquet file [{type(error).__name__}]; get it again.") from None
    for number, fields in enumerate(cells, 1):
        yield Row(number, f"Row {number} of {path}", fields)
