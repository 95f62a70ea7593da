"""`session.shopper_profiles`: the verbs, and single calls sent together."""

from bcshopper._profiles.resource import ShopperProfiles
from bcshopper._profiles.wire import ProfileRequests
