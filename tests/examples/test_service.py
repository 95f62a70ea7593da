"""Tests of service.py, for a project of your own: `pytest test_service.py`."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from service import app

from bcshopper.sandbox import Fault, Sandbox


@pytest.fixture
def client(bcshopper_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("BIGCOMMERCE_STORE_HASH", bcshopper_sandbox.store_hash)
    monkeypatch.setenv("BIGCOMMERCE_ACCESS_TOKEN", bcshopper_sandbox.access_token)
    monkeypatch.setenv("BIGCOMMERCE_BASE_URL", bcshopper_sandbox.url)
    with TestClient(app) as client:  # runs the lifespan
        yield client


def test_a_customer_gets_one_profile(client: TestClient, bcshopper_sandbox: Sandbox) -> None:
    first, again = client.put("/customers/7/profile"), client.put("/customers/7/profile")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json() == {"id": str(bcshopper_sandbox.store.customers[7])}


def test_a_lost_answer_is_looked_up(client: TestClient, bcshopper_sandbox: Sandbox) -> None:
    bcshopper_sandbox.faults.queue(Fault.cut(applied=True))
    assert client.put("/customers/7/profile").status_code == 200
    assert bcshopper_sandbox.record.counts["POST", "shopper-profiles"] == 1


def test_an_overloaded_api_is_a_429(client: TestClient, bcshopper_sandbox: Sandbox) -> None:
    bcshopper_sandbox.faults.queue(Fault.error(429, headers={"X-Retry-After": "7"}))
    answer = client.put("/customers/7/profile")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")


def test_the_deadline_holds(client: TestClient, bcshopper_sandbox: Sandbox) -> None:
    bcshopper_sandbox.faults.queue(Fault.stall())
    answer = client.get("/profiles", headers={"X-Request-Timeout": "0.2"})
    assert answer.status_code == 504


def test_a_refused_token_is_not_the_callers_fault(
    client: TestClient, bcshopper_sandbox: Sandbox
) -> None:
    bcshopper_sandbox.faults.queue(Fault.error(401))
    assert client.get("/ready").status_code == 502
    assert client.get("/ready").status_code == 204
