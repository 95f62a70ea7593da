"""A list of the API, page by page."""
