"""Processes that train together: started, watched, stopped."""
