"""What the actions do, a module a topic.

A new action touches these places: its function here; its registration in the module of the same
name in `q2_aam.registrations`; its usage example in that of `q2_aam.examples`; an entry in
tests/q2_aam/test_every_parameter.py, and tests beside those of its topic. A visualizer writes files
and renders the page ``assets/NAME/index.html``.
"""
