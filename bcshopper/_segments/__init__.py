"""`session.segments`, and who is in them."""

from bcshopper._segments.members import SegmentMembers
from bcshopper._segments.resource import Segments
