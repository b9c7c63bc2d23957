"""The judge: runs model-written Python in a sandbox and says what became of it.

Standard library only. Model output is hostile and runs nowhere else in this project.
"""
