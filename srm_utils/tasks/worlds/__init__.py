"""The procedural worlds: one seeded generator of problems a file."""
