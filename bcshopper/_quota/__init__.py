"""When a request may go out: one gate for each store."""

from bcshopper._quota.gate import QuotaGate, WaitTooLongError
from bcshopper._quota.headers import TOO_MANY, QuotaSnapshot, read_retry_after
from bcshopper._quota.local import MARGIN, OVERLOADED
from bcshopper._quota.policy import QuotaPolicy
from bcshopper._quota.registry import check_shared, shared_gate
