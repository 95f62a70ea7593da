import json
import re
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper._batch import Created
from bcshopper._customers.wire import CustomerRow
from bcshopper._listing import ListDocument
from bcshopper._models import ShopperProfile
from bcshopper._transport import MalformedDocumentError, Reply, converter, read_no_body, structure

ProfileList = ListDocument[ShopperProfile]
CustomerList = ListDocument[CustomerRow]

pytestmark = pytest.mark.lowest

ID = "f47ac10b-58cc-4372-a567-0e02b2c3d479"
PAGINATION = {"total": 1, "count": 1, "per_page": 50, "current_page": 1, "total_pages": 1}


def document(*rows, **fields):
    """A documented list with these rows."""
    return {"data": list(rows), "meta": {"pagination": PAGINATION}, **fields}


def row(**fields):
    """A profile's row."""
    return {"id": ID, "customer_id": 7, **fields}


def load(value, cls=ProfileList):
    """Decode a value that is dumped first, or the body itself."""
    return converter.loads(value if isinstance(value, bytes) else json.dumps(value).encode(), cls)


def only(value):
    """The only profile of a list."""
    (profile,) = load(value).data
    return profile


def text(number):
    """JSON of a list whose customer_id is this token, which json could not write."""
    return json.dumps(document(row(customer_id="HERE"))).replace('"HERE"', number).encode()


def test_a_documented_list_becomes_the_models():
    """Ids are UUIDs, times are aware, the order is kept."""
    profiles = load(document(row(created_at="2024-01-02T03:04:05Z"), row(customer_id=8)))
    assert profiles.data == (
        ShopperProfile(UUID(ID), 7, datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), None),
        ShopperProfile(UUID(ID), 8),
    )
    assert profiles.meta.pagination.per_page == 50


@pytest.mark.parametrize("customer_id", [7, 7.0])
def test_unknown_fields_are_ignored(customer_id):
    """The API may add fields at any level, on either path."""
    extra = {"new": [1, {"a": None}], "newer": "x"}
    known = document(row(customer_id=customer_id))
    value = document(row(customer_id=customer_id, **extra), **extra)
    value["meta"] = {**extra, "pagination": {**PAGINATION, "links": {"next": "?page=2"}}}
    assert load(value) == load(known)


@pytest.mark.parametrize("customer_id", [7, 7.0])
@pytest.mark.parametrize("dates", [{}, {"created_at": None, "updated_at": None}])
def test_a_missing_or_null_date_is_none(customer_id, dates):
    """A date that the API does not give is no failure."""
    profile = only(document(row(customer_id=customer_id, **dates)))
    assert profile == ShopperProfile(UUID(ID), 7, None, None)


@pytest.mark.parametrize("customer_id", [7, 7.0])
@pytest.mark.parametrize(
    ("written", "fields", "offset"),
    [
        ("2024-01-02T03:04:05Z", (), 0),
        ("2024-01-02t03:04:05z", (), 0),
        ("2024-01-02T03:04:05.5Z", (500_000,), 0),
        ("2024-01-02T03:04:05.123456Z", (123_456,), 0),
        ("2024-01-02T03:04:05.123456000Z", (123_456,), 0),
        ("2024-01-02T03:04:05+02:00", (), 120),
        ("2024-01-02T03:04:05.25-05:30", (250_000,), -330),
        ("2024-01-02T03:04:05+0200", (), 120),
        ("2024-01-02 03:04:05", (), 0),
        ("2024-01-02T03:04:05", (), 0),
        ("2024-01-02T03:04:05.5", (500_000,), 0),
    ],
)
def test_dates_are_aware_in_every_form(customer_id, written, fields, offset):
    """RFC 3339 with Z or offset, with fractions or not; one without an offset is UTC."""
    created = only(document(row(customer_id=customer_id, created_at=written))).created_at
    zone = timezone(timedelta(minutes=offset))
    assert created == datetime(2024, 1, 2, 3, 4, 5, *fields, tzinfo=zone)
    assert created.utcoffset() == timedelta(minutes=offset)


@pytest.mark.parametrize(
    ("number", "customer_id"),
    [
        ("7.0", 7),
        ("1e3", 1000),
        (str(2**63 - 1), 2**63 - 1),
    ],
)
def test_integers_are_exact_however_written(number, customer_id):
    """An integral float is an integer."""
    assert only(text(number)).customer_id == customer_id


@pytest.mark.parametrize("total", [2**63 - 1, 2**64, int("1" * 100)])
def test_no_integer_is_too_large_to_be_read(total):
    """What it means is another question."""
    value = document(row())
    value["meta"]["pagination"] = {**PAGINATION, "total": total}
    assert load(value).meta.pagination.total == total


@pytest.mark.parametrize("number", ["0", "-1", "0.0", "-1e3", str(2**63), "1e19", "1" * 100])
@pytest.mark.parametrize("cls", [ProfileList, CustomerList])
def test_what_can_be_no_customers_id_is_refused(number, cls):
    """Ids are numbered from 1, in 64 bits; 0 is a guest. However it is written."""
    value = {"id": ID, "customer_id": "HERE"}
    if cls is CustomerList:
        value = {"id": "HERE", "shopper_profile_id": None}
    body = json.dumps(document(value)).replace('"HERE"', number).encode()
    with pytest.raises(MalformedDocumentError, match="expected 1 to 9223372036854775807") as caught:
        load(body, cls)
    assert caught.value.field == f"$.data[0].{'id' if cls is CustomerList else 'customer_id'}"


@pytest.mark.parametrize("number", ["7", "7.0"])
def test_of_duplicate_keys_the_last_counts(number):
    """Both paths agree with json."""
    body = b'{"data":[],"data":[{"id":"%b","customer_id":1,"customer_id":%b}],"meta":%b}' % (
        ID.encode(), number.encode(), json.dumps({"pagination": PAGINATION}).encode(),
    )  # fmt: skip
    assert only(body).customer_id == 7


def test_a_uuid_may_be_in_capitals():
    """UUIDs are read in either case."""
    assert only(document(row(id=ID.upper()))).id == UUID(ID)


NESTED = b'{"data":[],"meta":{"pagination":{}},"x":%b%b}' % (b"[" * 10_000, b"]" * 10_000)


@pytest.mark.parametrize(
    ("body", "reason", "field"),
    [
        (b"", "not JSON", r"\$"),
        (b"  \r\n", "not JSON", r"\$"),
        (b"<html><body>Bad gateway</body></html>", "not JSON", r"\$"),
        (b'{"data":[],', "not JSON", r"\$"),
        (json.dumps(document()).encode() + b"x", "not JSON", r"\$"),
        (json.dumps(document()).encode("utf-16"), "not JSON", r"\$"),
        (b"\xff\xfe", "not JSON", r"\$"),
        (b'{"\xff":1}', "not JSON", r"\$"),
        (text('"\\ud800"'), "not JSON", r"\$"),
        (json.dumps(document(row(id="HERE"))).encode().replace(b"HERE", b"\xff"), "JSON", r"\$"),
        (text("NaN"), "not JSON", r"\$"),
        (text("1e400"), "not JSON", r"\$"),
        (text("9" * 5000), "not JSON", r"\$"),
        (b"[" * 10_000 + b"]" * 10_000, "nested too deep", r"\$"),
        (b'{"data":' * 10_000 + b"1" + b"}" * 10_000, "nested too deep", r"\$"),
        (NESTED, "nested too deep", r"\$"),
        (b"null", "no JSON object", r"\$"),
        (b"[]", "no JSON object", r"\$"),
        (b'"data"', "no JSON object", r"\$"),
        (b"17", "no JSON object", r"\$"),
        (b"{}", "missing", r"\$\.data"),
        (b'{"data":[]}', "missing", r"\$\.meta"),
        (b'{"data":[],"meta":{}}', "missing", r"\$\.meta\.pagination"),
        (b'{"data":[],"meta":[]}', "expected", r"\$\.meta.*"),
        (b'{"data":[],"meta":null}', "expected", r"\$\.meta.*"),
        (document(row()) | {"data": None}, "expected", r"\$\.data"),
        (document(row()) | {"data": 5}, "expected", r"\$\.data"),
        (document(row()) | {"data": {}}, "expected", r"\$\.data"),
        (document(row()) | {"data": ""}, "expected", r"\$\.data"),
        (document(row()) | {"data": {"0": row()}}, "expected", r"\$\.data.*"),
        (document(row()) | {"data": "abc"}, "expected", r"\$\.data.*"),
        (document(None), "expected", r"\$\.data\[0\]"),
        (document(row(), 1), "expected", r"\$\.data\[1\]"),
        (document(row(), {}), "missing", r"\$\.data\[1\]\.id"),
        (document(row(), row(), row(id="x")), "expected", r"\$\.data\[2\]\.id"),
        (document(row(id=5)), "expected", r"\$\.data\[0\]\.id"),
        (document(row(id=None)), "expected", r"\$\.data\[0\]\.id"),
        (document(row(customer_id=1.5)), "expected", r"\$\.data\[0\]\.customer_id"),
        (document(row(customer_id="1")), "expected", r"\$\.data\[0\]\.customer_id"),
        (document(row(customer_id=True)), "expected", r"\$\.data\[0\]\.customer_id"),
        (document(row(customer_id=None)), "expected", r"\$\.data\[0\]\.customer_id"),
        (document(row(created_at="")), "expected", r"\$\.data\[0\]\.created_at"),
        (document(row(created_at="yesterday")), "expected", r"\$\.data\[0\]\.created_at"),
        (document(row(created_at=1704164645)), "expected", r"\$\.data\[0\]\.created_at"),
        (document(row(created_at="2024-02-30T00:00:00Z")), "", r"\$\.data\[0\]\.created_at"),
    ],
)
def test_what_is_not_the_document_is_refused_with_reason_and_field(body, reason, field):
    """Whoever reads the error knows what is wrong, and where."""
    with pytest.raises(MalformedDocumentError) as caught:
        load(body)
    assert caught.value.reason
    assert reason in caught.value.reason
    assert re.fullmatch(field, caught.value.field)


@pytest.mark.parametrize("number", [2, 2.0])
def test_a_customer_without_a_profile_is_none(number):
    """The customer list gives a profile id, or null."""
    rows = {"id": 1, "shopper_profile_id": ID}, {"id": number, "shopper_profile_id": None}
    found = load(document(*rows), CustomerList).data
    assert [(c.id, c.shopper_profile_id) for c in found] == [(1, UUID(ID)), (2, None)]


@pytest.mark.parametrize("number", [2, 2.0])
def test_a_customer_of_whom_nothing_is_said_is_not_without_a_profile(number):
    """The field is Beta: where it is absent, nobody knows."""
    with pytest.raises(MalformedDocumentError, match="missing") as caught:
        load(document({"id": 1, "shopper_profile_id": ID}, {"id": number}), CustomerList)
    assert caught.value.field == "$.data[1].shopper_profile_id"


@pytest.mark.parametrize("body", [b"", b"{}", b" \n"])
def test_a_deletion_needs_no_body(body):
    """None is documented, and nothing in it is as good."""
    read_no_body(Reply(204, "No Content", {}, body))


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b"null", b'{"errors":[{"status":409}]}', b'{"data":[]}', b'{"status":500}'],
)
def test_a_deletion_that_is_answered_with_something_else_is_refused(body):
    """A proxy's page with status 200 is no success."""
    with pytest.raises(MalformedDocumentError):
        read_no_body(Reply(200, "OK", {}, body))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=zones | st.just(UTC))  # noqa: DTZ001


@st.composite
def dates(draw):
    """RFC 3339 in any form that both paths read alike; more than six decimals they round apart."""
    moment = draw(moments)
    decimals = draw(st.sampled_from(["seconds", "milliseconds", "microseconds"]))
    written = moment.isoformat(sep=draw(st.sampled_from("T ")), timespec=decimals)
    return written.replace("+00:00", "Z") if draw(st.booleans()) else written


known = {"id", "customer_id", "created_at", "updated_at"}
extras = st.dictionaries(st.text().filter(lambda k: k not in known), json_values, max_size=2)
maybe_date = {"created_at": st.none() | dates(), "updated_at": st.none() | dates()}
rows = st.builds(
    lambda fields, extra: {**extra, **fields},
    st.fixed_dictionaries(
        {"id": st.uuids().map(str), "customer_id": st.integers(1, 2**63 - 1)}, optional=maybe_date
    ),
    extras,
)
documents = st.builds(
    lambda data, numbers: {"data": data, "meta": {"pagination": numbers}},
    st.lists(rows, max_size=4),
    st.fixed_dictionaries({name: st.integers(0, 2**40) for name in PAGINATION}),
)


@given(documents)
def test_the_fast_path_and_the_fallback_agree_on_every_documented_list(value):
    """Which of the two decodes a document can't be told from the result."""
    body = json.dumps(value).encode()
    fast = msgspec.json.decode(body, type=ProfileList)
    slow = structure.cattrs_converter.structure(json.loads(body), ProfileList)
    assert fast == slow == load(body)
    for a, b in zip(fast.data, slow.data, strict=True):
        for name in ("created_at", "updated_at"):
            ours, theirs = getattr(a, name), getattr(b, name)
            assert (ours and ours.utcoffset()) == (theirs and theirs.utcoffset())


@given(documents, st.integers(1, 2**53), st.randoms(use_true_random=False))
def test_one_strict_refusal_changes_nothing_else_of_a_document(value, customer_id, rng):
    """A list in which one number is a float is the same list."""
    value["data"].append(row(customer_id=customer_id))
    rng.shuffle(value["data"])
    exact = load(value)
    for item in value["data"]:
        if item["customer_id"] == customer_id:
            item["customer_id"] = float(customer_id)
    assert load(value) == exact


@given(st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_body_raises_anything_else(body):
    """Whatever comes, the caller has one exception to handle."""
    for cls in (ProfileList, Created[ShopperProfile], CustomerList):
        try:
            load(body, cls)
        except MalformedDocumentError as error:
            assert error.field.startswith("$")  # noqa: PT017 - it may be a document, too
