"""What fits where: memory counted from shapes, and the spread that follows. Needs no torch."""
