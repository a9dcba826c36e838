"""Registrations of the actions, a module for each module of `q2_aam.actions`."""
