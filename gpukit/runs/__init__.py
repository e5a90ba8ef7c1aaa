"""Runs: what is to run (plan), starting it (submit), and a handle on it."""
