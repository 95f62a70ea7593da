import importlib
import inspect
import pkgutil

import pytest

import bcshopper

PUBLIC = {
    "bcshopper": """
        APIError AuthenticationError BCShopperError BadRequestError BatchError BatchReport
        Coalescer ConflictError Customer Customers InvalidInputError NotFoundError Outcome Page
        Pagination Paginator PayloadTooLargeError PermissionDeniedError QuotaPolicy QuotaSnapshot
        RateLimitError RequestTimeoutError ResponseFormatError RetryPolicy Segment SegmentMembers
        Segments ServerError Session SessionClosedError SessionStats ShopperProfile ShopperProfiles
        Status SyncPlan SyncReport TooManyRemovalsError TransportError UnprocessableError
        __version__
    """,
    "bcshopper.errors": """
        APIError AuthenticationError BCShopperError BadRequestError BatchError ConflictError
        InvalidInputError NotFoundError PayloadTooLargeError PermissionDeniedError RateLimitError
        RequestTimeoutError ResponseFormatError ServerError SessionClosedError TooManyRemovalsError
        TransportError UnprocessableError
    """,
    "bcshopper.events": """
        ChunkDone Event QuotaWait RequestSent ResponseReceived RetryScheduled
    """,
    "bcshopper.fleet": """
        JobStatus cancel default_database outcomes retry status statuses submit worker
    """,
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
