"""The ledger: what was run, answered, judged and scored, in SQLite or PostgreSQL.

Open it with `open_ledger`, store rows of `database.schema` and `live` with `write`, read with
`database.queries`. The statistics: `scores` and `intervals` of one run, `comparisons` with its
base, `ranks` and `power` of several, and `in_view`, which brings them together.
"""

from database.session import LedgerError, NoLedgerError, open_for_reading, open_ledger
from database.writing import write

__all__ = ["LedgerError", "NoLedgerError", "open_for_reading", "open_ledger", "write"]
