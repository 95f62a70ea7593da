"""Any number of ids, and one outcome for each."""

from bcshopper._batch.batch import FATAL, Batch
from bcshopper._batch.creation import Claim, Created, Creates, read_claim
from bcshopper._batch.deletion import Deletes, IsThere
from bcshopper._batch.halving import Halving, Refusal
