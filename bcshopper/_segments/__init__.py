"""`session.segments`, and who is in them."""

from bcshopper._segments.members import SegmentMembers, run_of_sync
from bcshopper._segments.people import is_too_many
from bcshopper._segments.resource import Segments
