"""`session.shopper_profiles`: the verbs, and single calls sent together."""
