"""The ledger: what ran, what it wrote, what the judge said, and the scores that follow."""
