"""The training loop: `trainer` is its entry, `step` one step; `launch` starts several processes."""
