"""Pages of the visualizers: what they show, and in `rendering` how any page is written."""
