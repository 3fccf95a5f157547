"""Validation protocols: each has a run (costly) and an analyze (cheap, repeatable)."""
