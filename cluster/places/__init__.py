"""Where a cluster can be, one module each: how it is brought up there, and down again."""
