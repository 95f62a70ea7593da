import json
import random
import time
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from bcshopper.sandbox import _table
from bcshopper.sandbox._table import Table

OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["add", "take", "change", "clear"]), st.integers(0, 40)), max_size=120
)


def row(key, value):
    """A row as JSON."""
    return json.dumps([key, value]).encode()


@given(
    OPERATIONS,
    st.integers(1, 5),
    st.integers(1, 9),
    st.integers(1, 9),
    st.booleans(),
    st.booleans(),
)
def test_a_table_is_a_dictionary_with_pages(operations, block, number, limit, newest, links):
    """Whatever is added, taken and changed: rows, order and pages are those of a list."""
    original, _table._BLOCK = _table._BLOCK, block
    try:
        table, plain = Table(), {}
        for value, (what, key) in enumerate(operations):
            row_id = UUID(int=key)
            if what == "clear" and value % 7 == 0:
                table.clear()
                plain.clear()
            elif what == "take":
                assert table.discard(row_id) == plain.pop(row_id, None)
            elif row_id in plain and what == "change":
                table.replace(row_id, value, row(key, value))
                plain[row_id] = value
            elif row_id not in plain and what == "add":
                table.append(row_id, value, row(key, value))
                plain[row_id] = value
            assert table == plain
            assert list(table) == list(plain)
        rows = [[row_id.int, value] for row_id, value in plain.items()]
        assert [json.loads(table.body(row_id)) for row_id in plain] == rows
        if newest:
            rows.reverse()
        page = json.loads(table.page(number, limit, links=links, newest_first=newest))
        assert page["data"] == rows[(number - 1) * limit : number * limit]
        assert page["meta"]["pagination"]["total"] == len(rows)
        assert ("links" in page["meta"]["pagination"]) == links
    finally:
        _table._BLOCK = original


def test_a_page_of_many_rows_costs_no_more_than_one_of_ten_thousand():
    """Wherever it is, also right after a row was taken: the whole list is never walked."""

    def page_time(count):
        table, rng = Table(), random.Random(1)
        ids = [UUID(int=i) for i in range(count)]
        for row_id in ids:
            table.append(row_id, None, b"{}")
        taken = []
        for number in range(1, 201):
            table.discard(ids[rng.randrange(count)])
            began = time.perf_counter()
            table.page(count // 250 - number % 5, 250, links=True)
            taken.append(time.perf_counter() - began)
        return sorted(taken)[len(taken) // 4]

    assert page_time(300_000) < 10 * page_time(10_000)
