"""Any number of ids, and one outcome for each."""
