"""What goes wrong with data before a training begins."""

__all__ = ['DataError']


class DataError(ValueError):
    """Images or annotations that cannot be trained on; the message names the file, the entries, and what to do."""
