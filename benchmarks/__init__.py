"""How fast and how small bcshopper is, each time beside something else: `python -m benchmarks`."""
