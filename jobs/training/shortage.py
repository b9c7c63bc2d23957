"""Out of memory, in whatever way it is told."""

SAID = ("out of memory", "allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What errors say that have no class of their own."""


def is_shortage(error: BaseException) -> bool:
    """Whether what failed is that memory did not suffice, on a GPU or on the host."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in SAID)
