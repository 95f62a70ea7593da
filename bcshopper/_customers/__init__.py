"""Customers, as far as they concern profiles: `GET /customers`."""

from bcshopper._customers.lookup import Lookup
from bcshopper._customers.wire import CustomerRequests
