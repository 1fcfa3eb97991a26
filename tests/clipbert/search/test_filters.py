"""Filters: what they mean, and that LanceDB and Qdrant mean the same."""

import random
import string
import unicodedata

import numpy as np
import pyarrow as pa
import pytest

from clipbert.search.filters import MAX_DEPTH, NOTHING, AnyOf, check, check_columns, field, matches, to_qdrant, to_sql
from clipbert.search.protocols import SearchIndexError


SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("small", pa.int32()),
        ("whole", pa.int64()),
        ("number", pa.float64()),
        ("flag", pa.bool_()),
        ("vector", pa.list_(pa.float32(), 2)),
    ]
)
TEXTS = [
    "",
    "a",
    "A",
    "it's",
    "50%",
    "a_b",
    "a\nb",
    "' OR 1=1 --",
    '"',
    "\\",
    "\U0001f600",
    "\U0001f600's",
    "e\u0301",
    "é",
]
TEXTS += ["holiday/sea", "holiday", "NULL", "`text`", "%", "_", "\ufffd", "\U0010ffff"]
SMALL = [0, 1, -1, 7, -(2**31), 2**31 - 1]
WHOLE = [0, 1, -1, 7, 2**53, 2**53 + 1, -(2**63), 2**63 - 1, 2**63 - 2]
NUMBERS = [0.0, -0.0, 1.0, 0.5, -1.5, 1e300, -1e300, 5e-324, 0.1, float(2**53)]
VALUES = {"text": TEXTS, "small": SMALL, "whole": WHOLE, "number": NUMBERS, "flag": [True, False]}
SIGNS = ("==", "!=", "<", "<=", ">", ">=")


def draw_rows(draw: random.Random, count: int) -> list[dict]:
    return [
        {"id": str(number)} | {name: draw.choice([*values, None, None]) for name, values in VALUES.items()}
        for number in range(count)
    ]


def draw_leaf(draw: random.Random, for_qdrant: bool):
    name = draw.choice(list(VALUES))
    column, values = field(name), VALUES[name]
    if name in ("small", "whole", "number"):
        values = values + [2.5, -3, 1e15, 12345] + ([] if name == "number" else [2**70, -(2**70), 1e19, 2.0**63])
    kind = draw.choice(["compare", "compare", "in", "null", "part"])
    if kind == "null":
        return column.is_null()
    if kind == "in":
        return column.is_in(draw.choices(values, k=draw.choice([0, 1, 2, 12])))
    if kind == "part" and name == "text" and not for_qdrant:
        return getattr(column, draw.choice(["startswith", "endswith", "contains"]))(draw.choice(values))
    has_order = name != "flag" and not (for_qdrant and name == "text")
    sign, value = draw.choice(SIGNS if has_order else SIGNS[:2]), draw.choice(values)
    if for_qdrant and sign not in SIGNS[:2] and abs(value) >= 2**52:
        value = 3
    return {
        "==": column.__eq__, "!=": column.__ne__, "<": column.__lt__,
        "<=": column.__le__, ">": column.__gt__, ">=": column.__ge__,
    }[sign](value)  # fmt: skip


def draw_filter(draw: random.Random, for_qdrant: bool, depth: int = 3):
    if depth == 0 or draw.random() < 0.3:
        drawn = draw_leaf(draw, for_qdrant)
    else:
        left, right = (draw_filter(draw, for_qdrant, depth - 1) for _ in range(2))
        drawn = left & right if draw.random() < 0.5 else left | right
    return ~drawn if draw.random() < 0.3 else drawn


def fitting(condition, rows) -> list[str]:
    return sorted(row["id"] for row in rows if matches(condition, row))


@pytest.fixture(scope="module")
def rows():
    return draw_rows(random.Random(0), 120)


@pytest.fixture(scope="module")
def lance(rows, tmp_path_factory):
    lancedb = pytest.importorskip("lancedb")
    table = pa.Table.from_pylist(rows, SCHEMA).drop_columns(["vector"])
    return lancedb.connect(tmp_path_factory.mktemp("filters")).create_table("rows", table)


@pytest.fixture(scope="module")
def qdrant(rows):
    client_module = pytest.importorskip("qdrant_client")
    client, models = client_module.QdrantClient(":memory:"), client_module.models
    client.create_collection("rows", models.VectorParams(size=1, distance=models.Distance.DOT))
    points = []
    for place, row in enumerate(rows):  # NULL in both of its forms
        payload = row if place % 2 else {name: value for name, value in row.items() if value is not None}
        points.append(models.PointStruct(id=place, vector=[1.0], payload=payload))
    client.upsert("rows", points)
    return client


def lance_ids(table, condition) -> list[str]:
    found = table.search().where(to_sql(condition, SCHEMA)).select(["id"]).limit(100_000).to_arrow()
    return sorted(found["id"].to_pylist())


def qdrant_ids(client, condition) -> list[str]:
    points, _ = client.scroll("rows", to_qdrant(condition, SCHEMA), limit=10_000)
    return sorted(point.payload["id"] for point in points)


def test_lancedb_agrees_with_the_meaning(rows, lance):
    draw = random.Random(1)
    seen = set()
    for _ in range(150):
        condition = draw_filter(draw, for_qdrant=False)
        expected = fitting(condition, rows)
        assert fitting(check(condition, SCHEMA), rows) == expected, condition
        assert lance_ids(lance, condition) == expected, (condition, to_sql(condition, SCHEMA))
        seen.add(len(expected))
    assert len(seen) > 30


def test_qdrant_agrees_with_the_meaning(rows, qdrant):
    draw = random.Random(2)
    for _ in range(100):
        condition = draw_filter(draw, for_qdrant=True)
        assert qdrant_ids(qdrant, condition) == fitting(condition, rows), condition


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_finds_itself_alone(rows, lance, qdrant, text):
    expected = [row["id"] for row in rows if row["text"] == text]
    assert lance_ids(lance, field("text") == text) == qdrant_ids(qdrant, field("text") == text) == sorted(expected)
    parts = field("text").startswith(text), field("text").endswith(text), field("text").contains(text)
    for part in parts:
        assert lance_ids(lance, part) == fitting(part, rows)
        assert lance_ids(lance, ~part) == fitting(~part, rows)


def test_both_spellings_of_an_accent_are_two_texts():
    composed = unicodedata.normalize("NFC", "e\u0301")
    assert not matches(field("text") == composed, {"text": "e\u0301"})


def test_null_fits_nothing_but_is_null(lance, rows):
    column, row = field("number"), {"number": None}
    tests = [column < 1, ~(column < 1), column != 1, column.is_in([]), ~column.is_in([]), ~column.is_null()]
    assert [matches(test, row) for test in tests] == [False] * 6
    assert matches(column.is_null(), row) and matches(column.is_null(), {})
    assert (
        lance_ids(lance, ~column.is_in([])) == lance_ids(lance, ~column.is_null()) == fitting(~column.is_null(), rows)
    )


def test_ten_thousand_values(lance, rows):
    values = ["".join(random.Random(seed).choices(string.printable[:95], k=8)) for seed in range(9_990)]
    condition = field("text").is_in([*values, "it's", "é"])
    assert lance_ids(lance, condition) == fitting(condition, rows) != []
    assert lance_ids(lance, ~condition) == fitting(~condition, rows)
    ids = field("id").is_in(map(str, range(5, 20_000)))
    assert len(lance_ids(lance, ids)) == len(rows) - 5


def test_python_words_are_refused():
    column = field("whole")
    for mistake in (
        lambda: (column < 1) and (column > 0),
        lambda: 0 < column < 5,  # noqa: SIM300
        lambda: not (column < 1),
        lambda: column < 1 & column > 0,
        lambda: column < 1 | (column > 0),
        lambda: ~column,
        lambda: 1 if column else 0,
    ):
        with pytest.raises(TypeError, match="in parentheses"):
            mistake()
    with pytest.raises(TypeError, match="expected another, got '1=1'"):
        (column < 1) & "1=1"


def test_reflected_and_numpy_numbers():
    assert (field("whole") < 5) == (field("whole") < 5)
    assert (np.int64(5) > field("whole")) == (field("whole") < np.int64(5)) == (field("whole") < 5)
    assert check(field("number") == np.float32(0.5), SCHEMA) == (field("number") == 0.5)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (field("textt") == "a", r"no column 'textt'. Did you mean 'text'\?"),
        (field("text` OR 1=1 --") == "a", "no column"),
        (field("vector") == 1, "cannot be filtered"),
        (field("vector").is_null(), "cannot be filtered"),
        (field("text") == 5, "'text' has string: expected a text, got the int 5"),
        (field("text") == None, "got None. For rows without a value there is is_null"),  # noqa: E711
        (field("text") == b"a", "expected a text"),
        (field("text").is_in(["a", 5]), "expected a text, got the int 5"),
        (field("text") == "a\0b", "without NUL"),
        (field("text") == "\ud800", "whole Unicode characters"),
        (field("text").contains("\udcff"), "whole Unicode characters"),
        (field("text").contains("x" * 10_001), "at most 10000 characters"),
        (field("text") == field("id"), "expected a text"),
        (field("whole") == "5", "expected a number, got the str '5'"),
        (field("whole") == True, "expected a number, got the bool True"),  # noqa: E712
        (field("whole").is_in([1, True]), "expected a number, got the bool True"),
        (field("number") < float("nan"), "finite"),
        (field("whole") < float("inf"), "finite"),
        (field("number") == 2**53 + 1, "float64 can hold"),
        (field("number") == 10**400, "float64 can hold"),
        (field("flag") == 1, "expected True or False, got the int 1"),
        (field("flag") < True, "expected == or !=, got <"),
        (field("whole").startswith("1"), "needs a column of text"),
        ("1=1", "expected a condition such as"),
    ],
)
def test_what_makes_no_sense_is_refused(condition, message):
    with pytest.raises(SearchIndexError, match=message):
        check(condition, SCHEMA)


def test_columns_that_are_asked_for():
    check_columns(["text", "vector"], SCHEMA)
    with pytest.raises(SearchIndexError, match="Did you mean 'vector'"):
        check_columns(["text", "vectr"], SCHEMA)


def test_a_text_is_no_list_of_values():
    with pytest.raises(TypeError, match="expected several values"):
        field("text").is_in("abc")


def test_too_much_is_refused():
    nested = field("whole") > 0
    for number in range(MAX_DEPTH):
        nested = (nested | (field("small") == number)) & (field("whole") > number)
    with pytest.raises(SearchIndexError, match="levels of"):
        check(nested, SCHEMA)
    with pytest.raises(SearchIndexError, match="is_in"):
        check(AnyOf(tuple(field("whole") == number for number in range(1001))), SCHEMA)
    with pytest.raises(SearchIndexError, match="at most 100000 values"):
        check(field("whole").is_in(range(100_001)), SCHEMA)


def test_as_much_as_is_allowed(lance, rows):
    nested, tests = field("whole") > 0, field("whole") == 0
    for number in range(MAX_DEPTH // 2 - 1):
        nested = (nested & (field("whole") > number)) | (field("small") == number)
    for number in range(999):
        tests = tests | (field("whole") == number)
    for condition in (nested, tests):
        assert lance_ids(lance, condition) == fitting(condition, rows)


def test_numbers_outside_a_column_are_folded():
    assert check(field("small") == 2**31, SCHEMA) == NOTHING
    assert check(field("small") < 2**31, SCHEMA) == check(field("small") != 0.5, SCHEMA) == ~field("small").is_null()
    assert check(field("whole") < 1.5, SCHEMA) == (field("whole") <= 1)
    assert check(field("whole") > -1.5, SCHEMA) == (field("whole") >= -1)


@pytest.mark.parametrize(
    "condition",
    [field("text").startswith("a"), field("text") < "a", field("whole") < 2**60, ~field("text").contains("a")],
)
def test_what_qdrant_cannot_do_exactly_is_refused(condition):
    pytest.importorskip("qdrant_client")
    with pytest.raises(SearchIndexError, match="Qdrant .* LanceDB index"):
        to_qdrant(condition, SCHEMA)
