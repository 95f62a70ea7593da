import pytest

from tests.sandbox.store import CUSTOMERS, PROFILES, create, existing, store


@pytest.mark.parametrize("token", [None, "", "wrong"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_missing_or_wrong_token_is_401(method, token):
    """Nothing is told and nothing is done without a token."""
    async with store(profiles=1) as (sandbox, call):
        answer = await call(method, token=token)
        assert answer.status == answer.json["status"] == 401
        assert len(existing(sandbox)) == 1


async def test_a_read_only_token_reads_and_gets_403_for_writes():
    """The scope store_v2_customers_read_only is enough for GET."""
    async with store(customers=1, profiles=1) as (sandbox, call):
        token = sandbox.read_only_token
        assert (await call("GET", token=token)).status == 200
        assert (await call("GET", CUSTOMERS, token=token)).status == 200
        assert (await call("POST", token=token, **create(1))).status == 403
        assert (await call("DELETE", token=token)).status == 403
        assert len(existing(sandbox)) == 1
        assert sandbox.store.wipes == 0


async def test_a_plan_without_the_feature_gets_403_on_the_whole_family():
    """Stores below Enterprise have no shopper profiles, but customers."""
    async with store(customers=1, feature=False) as (_, call):
        for method in ("GET", "POST", "DELETE"):
            answer = await call(method)
            assert answer.status == 403
            assert "plan" in answer.json["title"]
        assert (await call("GET", CUSTOMERS)).status == 200


@pytest.mark.parametrize("path", ["/stores/other/v3/shopper-profiles", "/", "/stores/sandbox"])
async def test_an_unknown_store_is_404_and_says_what_is_served(path):
    """A wrong hash or base URL is found at once."""
    async with store() as (_, call):
        answer = await call("GET", path)
        assert answer.status == 404
        assert path in answer.json["title"]
        assert "/stores/sandbox/v3/" in answer.json["title"]


async def test_an_unknown_path_is_404_and_explains_itself():
    """What the sandbox does not play, it names, with what it does."""
    async with store() as (_, call):
        answer = await call("GET", "segments")
        assert answer.status == 404
        for words in ("GET segments", "GET shopper-profiles", "DELETE shopper-profiles"):
            assert words in answer.json["title"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PUT", PROFILES, {"GET", "POST", "DELETE"}), ("POST", CUSTOMERS, {"GET"})],
)
async def test_a_method_that_a_path_does_not_take_is_405_with_allow(method, path, allowed):
    """As HTTP has it."""
    async with store() as (_, call):
        answer = await call(method, path)
        assert answer.status == 405
        assert set(answer.headers["Allow"].split(", ")) == allowed


async def test_errors_have_the_documented_body():
    """Status, title and type, as JSON."""
    async with store() as (_, call):
        answer = await call("GET", params={"page": "0"})
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json.keys() == {"status", "title", "type"}
        assert answer.status == answer.json["status"] == 422
