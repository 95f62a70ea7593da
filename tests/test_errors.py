import copy
import inspect
import pickle
import re

import pytest

from bcshopper import BatchReport, Outcome, Status, SyncPlan, errors
from bcshopper.errors import (
    APIError,
    BatchError,
    BCShopperError,
    ConflictError,
    InvalidInputError,
    RequestTimeoutError,
    ResponseFormatError,
    ServerError,
    TooManyRemovalsError,
    TransportError,
)

CLASSES = [getattr(errors, name) for name in errors.__all__]
URL = "https://api.bigcommerce.com/stores/abc/v3/shopper-profiles"
API_FIELDS = {
    "status": 409,
    "title": "conflict",
    "type": "https://example.com/conflict",
    "errors": {"0": "already exists"},
    "method": "POST",
    "url": URL,
    "request_id": "r-1",
    "retry_after": 1.5,
    "body": '{"title":"conflict"}',
}
SENT_FIELDS = {"method": "GET", "url": URL, "sent": False}
FORMAT_FIELDS = {"method": "GET", "url": URL, "status": 200, "field": "$.data", "excerpt": "<html>"}


def example(cls):
    """One error of a class, with every field filled."""
    if issubclass(cls, APIError):
        return cls("the message", **API_FIELDS)
    if issubclass(cls, TransportError):
        return cls("the message", **SENT_FIELDS)
    if cls is ResponseFormatError:
        return cls("the message", **FORMAT_FIELDS)
    if cls is BatchError:
        failed = Outcome(1, Status.REJECTED, error=example(ConflictError))
        return cls("the message", BatchReport((failed, Outcome(2, Status.DELETED))))
    if cls is TooManyRemovalsError:
        return cls("the message", SyncPlan((1,), (1, 2), (3, 4), 1, 3))
    return cls("the message")


def facts(error):
    """All that an error holds, to compare; errors themselves are equal only by identity."""
    held = dict(vars(error))
    report = held.pop("report", ())
    outcomes = [(o.item, o.status, o.error and facts(o.error)) for o in report]
    return type(error), error.args, str(error), held, outcomes


def tree():
    """The docstring's tree: name -> (the name that it hangs from, the rest of its line)."""
    found, path = {}, []
    for line in errors.__doc__.splitlines():
        match = re.match(r"( {4}[│├└─ ]*)(\w+Error)\b(.*)", line)
        if match:
            indent, name, rest = match.groups()
            depth = (len(indent) - 4) // 4
            path[depth:] = [name]
            found[name] = (path[depth - 1] if depth else None, rest)
    return found


def test_every_error_class_is_in_all_and_in_the_docstrings_tree():
    """Nobody has to guess what can be raised."""
    defined = {
        name
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and issubclass(thing, BaseException)
    }
    assert defined == set(errors.__all__) == set(tree())


@pytest.mark.parametrize("cls", CLASSES)
def test_the_docstrings_tree_is_the_real_one(cls):
    """Each class hangs where the tree shows it, with the builtin and the status that it names."""
    parent, rest = tree()[cls.__name__]
    assert cls.__bases__[0].__name__ == (parent or "Exception")
    also = re.search(r"also an? (\w+)", rest)
    builtins = [base.__name__ for base in cls.__bases__[1:]]
    assert builtins == ([also[1]] if also else [])
    if parent == "APIError":
        assert cls.__doc__.startswith(rest.split()[-1] + ":")


@pytest.mark.parametrize("cls", CLASSES)
def test_an_errors_text_is_its_message(cls):
    """Fields are not in the way of whoever prints it."""
    assert str(example(cls)) == "the message"


def test_builtin_handlers_catch_ours():
    """`except ValueError` and `except TimeoutError` work as their readers expect."""
    with pytest.raises(ValueError, match="the message"):
        raise example(InvalidInputError)
    with pytest.raises(TimeoutError, match="the message"):
        raise example(RequestTimeoutError)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy]
    + [lambda e, p=p: pickle.loads(pickle.dumps(e, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)],
)
def test_every_error_copies_and_pickles_with_all_that_it_holds(cls, duplicate):
    """An error crosses process borders whole: class, message, fields and notes."""
    error = example(cls)
    error.add_note("a note")
    twin = duplicate(error)
    assert twin is not error
    assert facts(twin) == facts(error)
    assert twin.__notes__ == ["a note"]


def test_a_subclass_with_fields_of_its_own_pickles_too():
    """Who derives from our errors gets pickling for free."""
    error = _DerivedError("the message", extra=7)
    assert pickle.loads(pickle.dumps(error)).extra == 7


class _DerivedError(BCShopperError):
    def __init__(self, message, *, extra):
        super().__init__(message)
        self.extra = extra


@pytest.mark.parametrize("cls", [c for c in CLASSES if issubclass(c, APIError)])
def test_an_api_error_has_what_the_api_said(cls):
    """Every documented field is an attribute."""
    error = example(cls)
    assert {name: getattr(error, name) for name in API_FIELDS} == API_FIELDS


def test_an_api_errors_messages_are_its_own():
    """Changing the mapping that it was made of changes nothing."""
    given = {"0": "text"}
    error = ServerError("m", **{**API_FIELDS, "errors": given})
    given.clear()
    assert error.errors == {"0": "text"}


@pytest.mark.parametrize("cls", [TransportError, RequestTimeoutError])
def test_a_transport_error_says_whether_the_request_left(cls):
    """`sent` decides whether it can have taken effect."""
    error = example(cls)
    assert {name: getattr(error, name) for name in SENT_FIELDS} == SENT_FIELDS


def test_a_format_error_says_where_the_answer_went_wrong():
    """Request, status, field and how the body begins are attributes."""
    error = example(ResponseFormatError)
    assert {name: getattr(error, name) for name in FORMAT_FIELDS} == FORMAT_FIELDS


def test_a_batch_error_has_the_report():
    """The successes are there too."""
    report = example(BatchError).report
    assert [o.status for o in report] == [Status.REJECTED, Status.DELETED]
