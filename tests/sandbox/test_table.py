import json
import random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper.sandbox import _table
from bcshopper.sandbox._table import Table

OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["add", "take", "change", "clear"]), st.integers(0, 40)), max_size=60
)


def row(key, value):
    """A row as JSON."""
    return json.dumps([key, value]).encode()


def change(table, plain, what, key, value):
    """Do the same with a table and with a dictionary."""
    row_id = UUID(int=key)
    if what == "clear" and key % 10 == 0:
        table.clear()
        plain.clear()
    elif what == "take":
        assert table.discard(row_id) == plain.pop(row_id, None)
    elif what == "change" and row_id in plain:
        table.replace(row_id, value, row(key, value))
        plain[row_id] = value
    elif what == "add" and row_id not in plain:
        table.append(row_id, value, row(key, value))
        plain[row_id] = value


@given(
    OPERATIONS,
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4), st.booleans(), st.booleans())),
)
def test_a_table_is_a_dictionary_with_pages(operations, block, pages):
    """After each change: rows, order and pages, with any settings, are those of a list."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_table, "_BLOCK", block)
        patch.setattr(_table, "_PAGES", 3)
        table, plain = Table(), {}
        for value, (what, key) in enumerate(operations):
            change(table, plain, what, key, value)
            assert table == plain
            rows = [[row_id.int, value] for row_id, value in plain.items()]
            assert [json.loads(table.body(row_id)) for row_id in table] == rows
            for number, limit, links, newest_first in pages:
                page = json.loads(table.page(number, limit, links=links, newest_first=newest_first))
                wanted = rows[::-1] if newest_first else rows
                assert page["data"] == wanted[(number - 1) * limit : number * limit]
                assert page["meta"]["pagination"]["total"] == len(rows)
                assert ("links" in page["meta"]["pagination"]) == links


class Counting(list):
    """A list that counts the items that are taken out of it, one by one or as a slice."""

    taken = 0

    def __getitem__(self, index):
        found = super().__getitem__(index)
        Counting.taken += len(found) if isinstance(index, slice) else 1
        return found

    def __iter__(self):
        for item in super().__iter__():
            Counting.taken += 1
            yield item


class Unwalked(dict):
    """A dictionary that is asked by key and never walked."""

    def __iter__(self):
        raise AssertionError

    keys = values = items = __iter__


def test_a_page_of_many_rows_takes_no_more_work_than_one_of_ten_thousand():
    """Wherever it is, also right after a row was taken: the whole list is never walked."""

    def rows_looked_at(count):
        table, rng = Table(), random.Random(1)
        ids = [UUID(int=i) for i in range(count)]
        for row_id in ids:
            table.append(row_id, None, b"{}")
        table._blocks = Counting(map(Counting, table._blocks))
        table._rows = Unwalked(table._rows)
        most = 0
        for number in range(1, 201):
            table.discard(ids[rng.randrange(count)])
            Counting.taken = 0
            table.page(count // 250 - number % 5, 250, links=True, newest_first=number % 2 == 0)
            most = max(most, Counting.taken)
        return most

    assert 250 <= rows_looked_at(300_000) < 2 * rows_looked_at(10_000)
