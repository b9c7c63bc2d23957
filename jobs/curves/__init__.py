"""The curves of trainings, copied to where other tools show them."""
