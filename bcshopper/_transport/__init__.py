"""The only way to the network: requests, answers, and what is tried again."""
