// Tests of a program that is not in Python, against a served sandbox: `bcshopper sandbox`.
// Run it with `node --test`; BIGCOMMERCE_BASE_URL says where the sandbox is.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

const base = process.env.BIGCOMMERCE_BASE_URL ?? "http://127.0.0.1:8080";
let store;

async function sandbox(method, path, document) {
  const answer = await fetch(`${base}/_sandbox/${path}`, { method, body: JSON.stringify(document) });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${answer.ok || await answer.text()}`);
  return answer.status === 204 ? null : answer.json();
}

// The program that is tested: it gives a customer a profile, whatever became of the answer.
async function ensureProfile(customerId) {
  const url = `${base}/stores/${store.store_hash}/v3`;
  const headers = { "X-Auth-Token": store.access_token, "Content-Type": "application/json" };
  const body = JSON.stringify([{ customer_id: customerId }]);
  const created = await fetch(`${url}/shopper-profiles`, { method: "POST", headers, body })
    .catch(() => null);
  if (created?.status === 201) return (await created.json()).data[0].id;
  const query = `id:in=${customerId}&include=shopper_profile_id`;
  const found = await (await fetch(`${url}/customers?${query}`, { headers })).json();
  return found.data[0].shopper_profile_id;
}

beforeEach(async () => {
  await sandbox("POST", "reset");
  await sandbox("POST", "seed", { customers: [501, 502], profiles: [502] });
  store = await sandbox("GET", "state");
});

test("a seeded customer is given a profile", async () => {
  assert.match(await ensureProfile(501), /^[0-9a-f-]{36}$/);
  const { profiles } = await sandbox("GET", "state");
  assert.equal(profiles, store.profiles + 1);
});

test("a lost answer is looked up, not sent again", async () => {
  await sandbox("POST", "faults", { fault: { kind: "cut", applied: true } });
  assert.match(await ensureProfile(501), /^[0-9a-f-]{36}$/);
  const { requests } = await sandbox("GET", `requests?since=${store.last}`);
  const seen = requests.map(({ method, path, status }) => [method, path, status]);
  assert.deepEqual(seen, [["POST", "shopper-profiles", null], ["GET", "customers", 200]]);
});
