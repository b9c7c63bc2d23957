"""Work kept under a URL as well as in a folder, so that another machine goes on with it.

A stage's outcome is put into the store when it is done, and fetched where it is missing: by a
driver before the stage, by a worker on a node that does not see the driver's disk.
"""
