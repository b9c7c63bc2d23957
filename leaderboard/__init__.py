"""What people see: Streamlit pages that read the ledger and talk HTTP to the model server.

Nothing here imports torch or Ray; the pages work while jobs run, and without a model server.
"""
