import importlib
import inspect
import pkgutil
import subprocess
import sys
import typing

import pytest

import bcshopper

PUBLIC = {
    "bcshopper": """
        APIDownError APIError AuthenticationError BCShopperError BadRequestError BatchError
        BatchReport
        Coalescer ConflictError Customer Customers InvalidInputError NotFoundError Outcome Page
        Pagination Paginator PayloadTooLargeError PermissionDeniedError QuotaPolicy QuotaSnapshot
        RateLimitError RequestTimeoutError ResponseFormatError RetryPolicy Segment SegmentMembers
        Segments ServerError Session SessionClosedError SessionStats ShopperProfile ShopperProfiles
        Status SyncPlan SyncReport TooManyRemovalsError TransportError UnprocessableError
        __version__
    """,
    "bcshopper.errors": """
        APIDownError APIError AuthenticationError BCShopperError BadRequestError BatchError
        ConflictError
        InvalidInputError NotFoundError PayloadTooLargeError PermissionDeniedError RateLimitError
        RequestTimeoutError ResponseFormatError ServerError SessionClosedError TooManyRemovalsError
        TransportError UnprocessableError
    """,
    "bcshopper.events": """
        ChunkDone CoalescedDone CoalescedStarted Event QuotaWait RequestEvent RequestFailed
        RequestGivenUp RequestSent ResponseReceived RetryScheduled
    """,
    "bcshopper.fleet": """
        JobStatus cancel default_database outcomes retry status statuses submit worker
    """,
    "bcshopper.otel": "Telemetry",
    "bcshopper.sandbox": "Fault Faults LoggedRequest Record Rules Sandbox Store",
}


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_exactly_these(module):
    """A name comes or goes only on purpose."""
    names = importlib.import_module(module).__all__
    assert sorted(names) == sorted(PUBLIC[module].split())


def test_everything_else_is_private():
    """Modules that are not public are underscored, so that nobody imports them by mistake."""
    found = {m.name for m in pkgutil.walk_packages(bcshopper.__path__, "bcshopper.")}
    public = {name for name in found if "._" not in name}
    assert public == set(PUBLIC) - {"bcshopper"} | {"bcshopper.sandbox.pytest_plugin"}


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_class_and_method_has_a_docstring(module):
    """What an editor shows says what the thing does."""
    members = importlib.import_module(module)
    for name in PUBLIC[module].split():
        thing = getattr(members, name)
        if not inspect.isclass(thing):
            continue
        assert thing.__doc__, name
        for attribute, value in vars(thing).items():
            if not attribute.startswith("_") and inspect.isroutine(value):
                assert inspect.getdoc(value), f"{name}.{attribute}"


def test_what_is_rarely_used_is_imported_late():
    """Whoever opens a session does not pay for what writes, walks consistently, or is told."""
    code = "import sys, bcshopper; bcshopper.Session; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    rare = {
        "_batch", "_customers", "_listing.consistent", "_outcomes", "_profiles.coalescer",
        "_profiles.creation", "_quota.leased", "_segments", "_transport.structure", "events",
    }  # fmt: skip
    assert "bcshopper._session" in loaded
    assert {"cattrs", *(f"bcshopper.{name}" for name in rare)}.isdisjoint(loaded)


def test_the_events_are_there_without_an_import_of_their_own():
    """As the errors are: `bcshopper.events.QuotaWait` beside `bcshopper.errors.APIError`."""
    code = "import bcshopper; print(bcshopper.events.QuotaWait.__name__)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "QuotaWait\n"


def test_the_annotations_of_a_session_can_be_evaluated():
    """As frameworks for dependency injection do, whatever is imported late."""
    parameters = inspect.signature(bcshopper.Session, eval_str=True).parameters
    assert parameters["timeout"].annotation is float
    assert typing.get_type_hints(bcshopper.Session.__init__)["store_hash"] is str


@pytest.mark.parametrize("name", bcshopper.__all__)
def test_what_is_imported_late_is_there_like_all_else(name):
    """By name, in `dir`, and in a wrong name's error."""
    assert name in dir(bcshopper)
    assert getattr(bcshopper, name) is not None


def test_a_name_that_is_not_there_is_named():
    """As by any module."""
    with pytest.raises(AttributeError, match="'bcshopper' has no attribute 'Sesion'"):
        bcshopper.Sesion  # noqa: B018
