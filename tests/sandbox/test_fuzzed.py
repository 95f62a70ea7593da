"""The sandbox against all that BigCommerce's own OpenAPI file allows, and what it does not.

Schemathesis is no code of ours: it makes requests of the file and checks the answers against it.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from bcshopper.sandbox import Fault, Rules, Sandbox

pytestmark = [pytest.mark.real_time, pytest.mark.long]

EXAMPLES = 60  # for each operation and phase
CUSTOMERS = 300
PROFILE, SEGMENT = UUID(int=1, version=4), UUID(int=2, version=4)
UNKNOWN = UUID(int=3, version=4)
STATUSES = (400, 401, 403, 404, 405, 409, 413, 414, 415, 422)
SEGMENTS, PROFILES = "/segments", "/shopper-profiles"


def components(document, kind, name):
    return document["components"][kind][name]


def is_json_alone(document):
    """POST /segments takes XML with any content: the API speaks JSON alone."""
    del document["paths"][SEGMENTS]["post"]["requestBody"]["content"]["application/xml"]


def headers_are_http(document):
    """Accept and Content-Type are parameters of any text: OpenAPI ignores such ones."""
    for path in document["paths"].values():
        for place in (path, *(o for o in path.values() if isinstance(o, dict))):
            if "parameters" in place:
                place["parameters"] = [
                    p for p in place["parameters"]
                    if p["$ref"].rpartition("/")[2] not in {"Accept", "ContentType"}
                ]  # fmt: skip


def errors_exist(document):
    """No operation lists all the errors that the page of API status codes has for each of them."""
    error = {"$ref": "#/components/schemas/ErrorResponse"}
    said = {"description": "refused", "content": {"application/json": {"schema": error}}}
    for path in document["paths"].values():
        for method in path.keys() & {"get", "post", "put", "delete"}:
            for status in STATUSES:
                path[method]["responses"].setdefault(str(status), said)


def conflicts_have_a_body(document):
    """Two operations leave their 409 out, which has the body that their sibling's has."""
    paths = document["paths"]
    conflict = paths[SEGMENTS]["post"]["responses"]["409"]
    paths[SEGMENTS]["put"]["responses"]["409"] = conflict
    paths[PROFILES]["post"]["responses"]["409"] = conflict


def a_change_is_no_creation(document):
    """PUT /segments answers 200 by the reference's text, 201 by the file."""
    responses = document["paths"][SEGMENTS]["put"]["responses"]
    responses["200"] = responses.pop("201")


def ids_are_uuids(document):
    """`id:in` holds any text: all that it names has a UUID. A blank one counts as none here."""
    schema = components(document, "parameters", "FilterIdParam")["schema"]
    schema["items"] = {"enum": [*map(str, (PROFILE, SEGMENT, UNKNOWN)), ""]}


def pages_begin_with_one(document):
    """Page and limit are any integers: there is no page -1, none of -1 items, nor of 19 digits."""
    for name in ("FilterPageParam", "FilterLimitParam"):
        schema = components(document, "parameters", name)["schema"]
        schema |= {"minimum": 1, "maximum": 10**18 - 1}


def writes_have_items(document):
    """Arrays of any length: none is no request, and the limit of 50 stands in prose alone."""
    for name in ("SegmentsPostRequest", "SegmentsPutRequest", "ShopperProfilesAddRequest",
                 "ShopperProfilesPostRequest"):  # fmt: skip
        components(document, "schemas", name).update(minItems=1, maxItems=50)
    for path, method in ((f"{SEGMENTS}/{{segmentId}}{PROFILES}", "post"), (PROFILES, "post")):
        document["paths"][path][method]["requestBody"]["required"] = True


def segments_have_names(document):
    """Names of no letter at all: a name is what tells segments apart."""
    for name in ("SegmentPost", "SegmentPut"):
        components(document, "schemas", name)["properties"]["name"]["pattern"] = r"\S"


def profiles_are_of_customers(document):
    """`customer_id` is any number, or left out: it is a whole one, and of a registered customer."""
    schema = components(document, "schemas", "ShopperProfilePost")
    schema["required"] = ["customer_id"]
    schema["properties"]["customer_id"] |= {"type": "integer", "minimum": 1, "maximum": CUSTOMERS}


def ids_are_of_what_there_is(document):
    """No file can know a store's ids: these are of what the store of this test holds."""
    for name, known in (("SegmentIdPathParam", SEGMENT), ("ShopperIdPathParam", PROFILE)):
        components(document, "parameters", name)["schema"]["enum"] = [str(known), str(UNKNOWN)]
    for name, known in (("ShopperProfilesAddRequest", PROFILE), ("SegmentPut", SEGMENT)):
        schema = components(document, "schemas", name)
        place = schema["items"] if "items" in schema else schema["properties"]["id"]
        place["enum"] = [str(known)]


AMENDMENTS = [
    is_json_alone, headers_are_http, errors_exist, conflicts_have_a_body, a_change_is_no_creation,
    ids_are_uuids, pages_begin_with_one, writes_have_items, segments_have_names,
    profiles_are_of_customers, ids_are_of_what_there_is,
]  # fmt: skip


# Every check is on but one for one path: DELETE takes members out of a segment there, and the list
# of them is still to be had, empty.
SETTINGS = """
[[operations]]
include-path = "/segments/{segmentId}/shopper-profiles"
checks.use_after_free.enabled = false
"""


@pytest.fixture
def document():
    """The official file, as it is."""
    import yaml

    given = os.environ.get("BCSHOPPER_OPENAPI_FILE")
    if not given:
        pytest.skip("BCSHOPPER_OPENAPI_FILE does not name BigCommerce's OpenAPI file")
    if not Path(given).is_file():
        pytest.skip(f"BCSHOPPER_OPENAPI_FILE names {given}, which is no file")
    return yaml.safe_load(Path(given).read_text(encoding="utf-8"))


def fuzz(document, folder, examples=EXAMPLES):
    """Run it with every check: how it ended, and what the sandbox has on record."""
    (folder / "openapi.json").write_text(json.dumps(document, default=str))
    (folder / "schemathesis.toml").write_text(SETTINGS)
    # the file knows no longest URL and no number of ids
    with Sandbox(customers=CUSTOMERS, rules=Rules(above_max_ids="clamp")) as sandbox:

        def hold(store):
            """There is always something to find, whatever was deleted."""
            if SEGMENT not in store.segments:
                store.create_segment("the segment of this test", segment_id=SEGMENT)
            if PROFILE not in store.profiles:
                if None not in store.customers.values():
                    store.delete_oldest(1)
                free = next(i for i, has in store.customers.items() if has is None)
                store.create(free, profile_id=PROFILE)

        sandbox.faults.rule(Fault.changing(hold))
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"), "run", "openapi.json",
                "--url", f"{sandbox.url}/stores/{sandbox.store_hash}/v3",
                "--header", f"X-Auth-Token: {sandbox.access_token}",
                "--checks", "all", "--mode", "all",
                "--phases", "examples,coverage,fuzzing,stateful",
                "--max-examples", str(examples), "--seed", "1", "--continue-on-failure",
                "--no-color",
            ],
            cwd=folder, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        return done, sandbox.record


def test_the_sandbox_does_what_the_official_file_says(document, tmp_path):
    """With every check on, once what the file itself gets wrong is amended."""
    for amend in AMENDMENTS:
        amend(document)
    done, record = fuzz(document, tmp_path)
    assert done.returncode == 0, done.stdout
    assert record.counts.total() > 1000, record.counts
    assert max(record.statuses) < 500
    assert {200, 201, 204, 404, 409, 422} <= set(record.statuses)
    assert len(record.counts) >= 11
    assert re.search(r"Tested: 11\b", done.stdout), done.stdout


def test_what_the_file_does_not_have_is_noticed(document, tmp_path):
    """What passes above has passed checks that can fail: here an amendment is left out."""
    for amend in AMENDMENTS:
        if amend is not a_change_is_no_creation:
            amend(document)
    done, _ = fuzz(document, tmp_path, examples=5)
    assert done.returncode == 1
    assert "Received: 200\n    Documented: 201" in done.stdout
