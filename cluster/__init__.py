"""Where the work runs: a Ray cluster, ours or one that is there, and gangs of workers on it.

Nothing here knows what a model is.
"""
