"""Customers, as far as they concern profiles: `GET /customers`."""
