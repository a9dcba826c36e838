"""Simulated studies with a known signal."""
