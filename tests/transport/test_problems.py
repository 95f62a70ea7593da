import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from bcshopper import errors
from bcshopper._transport.messages import Reply, Request
from bcshopper._transport.problems import Problem, api_error, malformed, read_problems

REQUEST = Request("POST", URL("https://api.bigcommerce.com/stores/abc/v3/shopper-profiles"))
TYPE = "https://developer.bigcommerce.com/api-docs/getting-started/api-status-codes"
CONFLICT = {
    "data": [],
    "errors": [
        {
            "status": 409,
            "title": "Unable to create shopper profiles due to conflicts.",
            "type": TYPE,
            "errors": {"0": "Shopper profile `x` already exists", "3": "so does `y`"},
        }
    ],
    "meta": {"total": 4, "success": 0, "failed": 4},
}


def reply(status, body=b"", reason="Reason", **headers):
    """An answer; a body that is not bytes is dumped as JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return Reply(status, reason, CIMultiDict(headers), body)


@pytest.mark.parametrize(
    ("body", "problems"),
    [
        # the documented error body, any part of which may be missing; its status is the answer's
        (
            {"status": 422, "title": "T", "type": TYPE, "errors": {"0.customer_id": "must be"}},
            [Problem("T", TYPE, {"0.customer_id": "must be"})],
        ),
        (
            {"status": 404, "title": "T", "type": TYPE, "instance": "/x"},
            [Problem("T", TYPE)],
        ),
        ({"title": "T"}, [Problem("T")]),
        ({"type": TYPE}, [Problem(type=TYPE)]),
        ({"status": 500}, []),
        ({"errors": {"name": "is missing"}}, [Problem(errors={"name": "is missing"})]),
        ({"title": "T", "errors": {}}, [Problem("T")]),
        # PHP writes an empty object so
        ({"status": 422, "title": "T", "errors": []}, [Problem("T")]),
        ({"title": None, "type": None, "errors": None, "status": None}, []),
        # problem+json, and the word that other services use
        ({"status": 400, "detail": "D"}, [Problem("D")]),
        ({"title": "T", "detail": "D"}, [Problem("T")]),
        ({"message": "M"}, [Problem("M")]),
        # the family's conflict body, with one problem or several
        (
            CONFLICT,
            [Problem(CONFLICT["errors"][0]["title"], TYPE, CONFLICT["errors"][0]["errors"], 409)],
        ),
        (
            {"data": [{}], "errors": [{"status": 422, "errors": {"1": "a"}}, {"status": 409}]},
            [Problem(errors={"1": "a"}, status=422), Problem(status=409)],
        ),
        (
            {"data": [], "errors": [{"status": 409, "title": "T", "errors": {}}]},
            [Problem("T", status=409)],
        ),
        ({"errors": [{"status": "409", "title": "T"}]}, [Problem("T")]),
        ({"data": [], "errors": [], "meta": {}}, []),
        ({"errors": ["text", None]}, []),
        # a field of another type is as if it were not there
        ({"title": 5, "type": 6, "status": "422", "errors": "none"}, []),
        ({"title": "T", "status": 422.5}, [Problem("T")]),
        ({"errors": {"a": 1, "b": None}}, [Problem(errors={"a": "1", "b": "None"})]),
        # and what is no such body says nothing
        ({}, []),
        ([], []),
        ([{"title": "T"}], []),
        (None, []),
        (7, []),
        ("title", []),
        (b"", []),
        (b"  ", []),
        (b"<html><h1>502 Bad Gateway</h1></html>", []),
        (b'{"title":"T"', []),
        (b'{"title":"\xff"}', []),
        (b"\xff\xfe\x00", []),
        (b"[" * 10_000, []),
        (b'{"errors":' * 10_000 + b"1" + b"}" * 10_000, []),
    ],
)  # fmt: skip
def test_error_bodies_are_read_in_every_documented_shape_and_survived_in_any_other(body, problems):
    """Title, type and messages, as far as they are there; of one item of several the status too."""
    assert read_problems(reply(400, body).body) == problems


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "title", "type", "errors", "detail", "0", "1.x"]), inner
        )
    ),
    max_leaves=12,
)


@given(json_values | st.binary(max_size=40), st.integers(300, 599))
def test_any_error_body_makes_an_api_error(body, status):
    """Whatever comes with an error status, the caller gets an `APIError` with its fields."""
    answer = reply(status, body)
    for problem in read_problems(answer.body):
        problem.words_by_position(50)
    error = api_error(REQUEST, answer)
    assert isinstance(error, errors.APIError)
    assert isinstance(error.title, str)
    assert error.title
    assert all(isinstance(x, str) for pair in error.errors.items() for x in pair)


@pytest.mark.parametrize(
    ("key", "position"),
    [
        ("0", 0),
        ("49", 49),
        ("50", None),
        ("007", 7),
        ("3.customer_id", 3),
        ("3.customer_id.0", 3),
        ("[3]", 3),
        ("[3].customer_id", 3),
        ("customer_id", None),
        ("customer_id.3", None),
        ("3x", None),
        ("-1", None),
        ("", None),
        (".3", None),
        ("9" * 5000, None),
    ],
)
def test_positions_in_the_request_are_read_from_the_keys(key, position):
    """A number, alone or before a field; one that is not in the request is nobody's."""
    found = Problem(errors={key: "words"}).words_by_position(50)
    assert found == ({} if position is None else {position: "words"})


def test_every_position_of_a_conflict_has_its_words():
    """The documented example names two of four items."""
    (problem,) = read_problems(reply(409, CONFLICT).body)
    assert problem.words_by_position(4) == {
        0: "Shopper profile `x` already exists",
        3: "so does `y`",
    }


CLASSES = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    413: errors.PayloadTooLargeError,
    422: errors.UnprocessableError,
    429: errors.RateLimitError,
}


@pytest.mark.parametrize("status", range(300, 600))
def test_the_status_decides_the_class(status):
    """One class per family; a status without one of its own is a plain `APIError`."""
    expected = errors.ServerError if status >= 500 else CLASSES.get(status, errors.APIError)
    error = api_error(REQUEST, reply(status))
    assert type(error) is expected
    assert error.status == status


@pytest.mark.parametrize(
    ("status", "claimed"), [(500, 429), (504, 422), (503, 404), (429, 500), (400, 429), (422, 200)]
)
@pytest.mark.parametrize("several", [False, True])
def test_the_http_status_counts_whatever_the_body_claims(status, claimed, several):
    """A failure that calls itself a refusal in its body must not be taken for one."""
    problem = {"status": claimed, "title": "T"}
    error = api_error(REQUEST, reply(status, {"errors": [problem]} if several else problem))
    assert type(error) is type(api_error(REQUEST, reply(status)))
    assert (error.status, error.title) == (status, "T")


@pytest.mark.parametrize("status", [207, 409])
@pytest.mark.parametrize(
    ("claimed", "cls"), [(400, errors.BadRequestError), (422, errors.UnprocessableError),
                         (599, errors.ServerError), (200, None), (600, None), (None, None)],
)  # fmt: skip
def test_one_problem_of_several_has_its_own_status(status, claimed, cls):
    """Inside an answer for many items, an item's problem says what it is, if it is an error."""
    items = [{"status": 409, "title": "X"}, {"status": claimed, "title": "T", "errors": {"1": "b"}}]
    answer = reply(status, {"data": [{}], "errors": items})
    error = api_error(REQUEST, answer, read_problems(answer.body)[1])
    if cls is None:
        assert error.status == status
    else:
        assert (type(error), error.status) == (cls, claimed)
    assert (error.title, error.errors) == ("T", {"1": "b"})


def test_an_api_error_has_every_field():
    """From the request, the status line, the headers and the body."""
    body = {"status": 422, "title": "T", "type": TYPE, "errors": {"0.customer_id": "must be"}}
    headers = {"x-request-id": "r-1", "retry-after": "7"}
    error = api_error(REQUEST, reply(422, body, **headers))
    assert (error.status, error.title, error.type) == (422, "T", TYPE)
    assert error.errors == {"0.customer_id": "must be"}
    assert (error.method, error.url) == ("POST", str(REQUEST.url))
    assert (error.request_id, error.retry_after) == ("r-1", 7.0)
    assert json.loads(error.body) == body
    for part in ("POST", str(REQUEST.url), "422", "T", "0.customer_id: must be"):
        assert part in str(error)


def test_an_api_error_survives_an_answer_that_says_nothing():
    """Every field has a value that can be relied on."""
    error = api_error(REQUEST, reply(502, b"<html>", reason="Bad Gateway"))
    assert (error.title, error.type, error.errors) == ("Bad Gateway", None, {})
    assert (error.request_id, error.retry_after, error.body) == (None, None, "<html>")
    assert str(error) == f"POST {REQUEST.url} answered 502: Bad Gateway"
    assert api_error(REQUEST, reply(502, reason="")).title


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "access token"), (403, "store_v2_customers"), (403, "Enterprise"), (404, "store hash")],
)
def test_common_refusals_say_what_to_check(status, hint):
    """The message helps where the API's own words do not."""
    assert hint in str(api_error(REQUEST, reply(status, {"title": "no"})))


def test_a_date_without_the_servers_clock_counts_from_now():
    """`Retry-After` as a date needs a clock: ours, if the server does not send its own."""
    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))
    assert 3500 < api_error(REQUEST, reply(503, **{"Retry-After": soon})).retry_after <= 3600


@pytest.mark.parametrize(
    "text",
    ["x" * 5000, "é" * 5000, "€" * 5000, "😀" * 5000, "a😀" * 3000, "aé€😀" * 2000, "short", ""],
)
def test_the_beginning_of_a_body_is_kept_to_the_character(text):
    """2,000 characters of an error, 200 of a malformed answer, and none cut in two."""
    answer = reply(500, text.encode())
    assert api_error(REQUEST, answer).body == text[:2000]
    assert malformed(REQUEST, answer, "reason", "$").excerpt == text[:200]


def test_a_body_that_is_no_text_is_kept_as_far_as_it_can_be():
    """Bytes that are no characters are replaced, not raised."""
    assert api_error(REQUEST, reply(500, b"a\xffb" * 2000)).body == ("a\ufffdb" * 2000)[:2000]


def test_a_malformed_answer_has_every_field():
    """Reason, field, status, request, and how the body begins; the message tells all of it."""
    error = malformed(REQUEST, reply(200, b"<html>"), "it is not JSON", "$.data")
    assert type(error) is errors.ResponseFormatError
    assert (error.method, error.url, error.status) == ("POST", str(REQUEST.url), 200)
    assert (error.field, error.excerpt) == ("$.data", "<html>")
    for part in ("POST", str(REQUEST.url), "200", "it is not JSON", "$.data", "<html>"):
        assert part in str(error)


def test_a_message_does_not_repeat_fifty_ids():
    """A long URL is cut in messages, and whole in the field."""
    long = Request("DELETE", REQUEST.url.with_query({"id:in": "x" * 1900}))
    for error in (api_error(long, reply(500)), malformed(long, reply(200), "reason", "$")):
        assert len(str(error)) < 500
        assert str(REQUEST.url) in str(error)
        assert error.url == str(long.url)
