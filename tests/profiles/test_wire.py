import json
from itertools import pairwise
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from bcshopper._customers import CustomerRequests
from bcshopper._profiles import ProfileRequests
from bcshopper._transport import Request

ROOT = URL("https://api.bigcommerce.com/stores/abc123/v3")
LONGEST = 2048
LAST_PAGE = 250  # find_customers is asked for no more pages than it names customers

ids = st.integers(1, 2**63 - 1)
long_lists = st.builds(
    lambda start, step, count: list(range(start, start + step * count, step)),
    st.sampled_from([1, 10**5, 10**12, 2**62]), st.integers(1, 10**6), st.integers(0, 1500),
)  # fmt: skip
# Beyond that a single UUID does not fit.
roots = st.integers(0, 1900).map(lambda n: URL("https://h.example/" + "p" * n))
odd_roots = st.text(max_size=60).map(lambda text: URL("https://h.example") / quote(text or "x", ""))


def encoded(url):
    """A URL as the most cautious client would write it."""
    query = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in url.query.items())
    return f"{url.with_query(None)}?{query}"


@given(roots | odd_roots)
def test_a_full_delete_fits_in_the_safe_length_and_one_more_would_not(root):
    """As many ids as fit, and never more than 50."""
    requests = ProfileRequests(root)
    capacity = requests.delete_capacity
    assert 1 <= capacity <= 50
    profile_ids = [uuid4() for _ in range(capacity + 1)]
    assert len(encoded(requests.delete(profile_ids[:-1]).url)) <= LONGEST
    if capacity < 50:
        assert len(encoded(requests.delete(profile_ids).url)) > LONGEST


def test_a_delete_fits_below_a_base_url_of_any_length():
    """The border between one id more and one id fewer is exact at every length."""
    profile_ids = [UUID(int=0)] * 50
    for length in range(1900):
        requests = ProfileRequests(URL("https://h.example/" + "p" * length))
        full = requests.delete(profile_ids[: requests.delete_capacity]).url
        assert LONGEST - 39 < len(encoded(full)) <= LONGEST or requests.delete_capacity == 50


def test_fifty_ids_fit_below_the_real_base_url():
    """The documented maximum is used where it can be."""
    assert ProfileRequests(ROOT).delete_capacity == 50


def test_a_base_url_that_leaves_no_room_still_lets_one_id_through():
    """Nothing is dropped and nothing divides by zero: the server may say no."""
    requests = ProfileRequests(URL("https://h.example/" + "p" * 3000))
    assert requests.delete_capacity == 1
    assert list(CustomerRequests(requests.root).split([1, 2])) == [[1], [2]]


@given(st.lists(ids, max_size=30) | long_lists, roots.filter(lambda url: len(str(url)) < 1900))
def test_split_for_find_keeps_every_id_in_order_within_the_safe_length(customer_ids, root):
    """Each run is one request that fits, on every page that it may have."""
    requests = CustomerRequests(root)
    runs = list(requests.split(customer_ids))
    assert [i for run in runs for i in run] == customer_ids
    for run in runs:
        assert 1 <= len(run) <= 250
        assert len(encoded(requests.find(run, LAST_PAGE).url)) <= LONGEST


@given(long_lists, roots.filter(lambda url: len(str(url)) < 1900))
def test_split_for_find_leaves_no_room_unused(customer_ids, root):
    """No run could take the next id, but for a few characters to spare."""
    requests = CustomerRequests(root)
    runs = list(requests.split(customer_ids))
    for run, following in pairwise(runs):
        longer = requests.find([*run, following[0]], LAST_PAGE).url
        assert len(run) == 250 or len(encoded(longer)) > LONGEST - 8


def test_split_for_find_of_nothing_is_nothing():
    """No ids, no request."""
    assert list(CustomerRequests(ROOT).split([])) == []


def test_profile_ids_go_out_as_text():
    """A UUID given to yarl becomes a decimal integer without a word."""
    profile_ids = [UUID("f47ac10b-58cc-4372-a567-0e02b2c3d479"), UUID(int=0)]
    request = ProfileRequests(ROOT).delete(profile_ids)
    assert request.method == "DELETE"
    assert list(request.url.query.items()) == [
        ("id:in", "f47ac10b-58cc-4372-a567-0e02b2c3d479,00000000-0000-0000-0000-000000000000")
    ]
    assert request.names_ids
    assert not request.wipes


def test_a_page_is_asked_for_by_number_and_limit():
    """The documented query, and nothing else."""
    request = ProfileRequests(ROOT).page(3, 250)
    assert (request.method, request.body) == ("GET", None)
    assert str(request.url) == f"{ROOT}/shopper-profiles?page=3&limit=250"


def test_a_creation_is_an_array_of_customer_ids():
    """The documented body, whose refusals the caller reads item by item."""
    request = ProfileRequests(ROOT).create([5, 2**63 - 1])
    assert (request.method, str(request.url)) == ("POST", f"{ROOT}/shopper-profiles")
    assert json.loads(request.body) == [{"customer_id": 5}, {"customer_id": 2**63 - 1}]
    assert request.reads == {400, 409, 413, 422}


def test_customers_are_asked_for_with_their_profile_ids():
    """The documented look-up, with the largest page there is."""
    url = CustomerRequests(ROOT).find([3, 1], 2).url
    assert url.with_query(None) == ROOT / "customers"
    assert dict(url.query) == {
        "id:in": "3,1",
        "include": "shopper_profile_id",
        "limit": "250",
        "page": "2",
    }


def test_only_the_documented_wipe_wipes():
    """A DELETE without ids is marked as what it is."""
    request = ProfileRequests(ROOT).delete_all()
    assert (request.method, str(request.url)) == ("DELETE", f"{ROOT}/shopper-profiles")
    assert request.wipes
    assert not request.names_ids


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ([], False),
        ([("id:in", "")], False),
        ([("id:in", ",")], False),
        ([("id:in", " , ,,")], False),
        ([("id:in", "\t,\n")], False),
        ([("id:in", ""), ("id:in", " ")], False),
        ([("id", "x"), ("page", "1")], False),
        ([("ID:IN", "x")], False),
        ([("id:in", "x")], True),
        ([("id:in", " ,x, ")], True),
        ([("id:in", ""), ("id:in", "x")], True),
    ],
)
def test_blank_ids_name_nothing(query, names):
    """What the API might take for a wipe is recognised."""
    assert Request("DELETE", (ROOT / "shopper-profiles").with_query(query)).names_ids is names


@pytest.mark.parametrize(("length", "label"), [(100, 100), (150, 150), (151, 153), (2000, 153)])
def test_a_label_is_the_method_and_the_url_as_far_as_people_read_it(length, label):
    """Fifty ids in every log line would help nobody."""
    url = f"https://h.example/{'p' * (length - 18)}"
    shown = Request("GET", URL(url)).label
    assert shown == "GET " + (url if length <= 150 else url[:150] + "...")
    assert len(shown) == len("GET ") + label
