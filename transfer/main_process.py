"""What the first of several processes does for all of them."""

from collections.abc import Callable

from mmengine.dist import broadcast_object_list, is_main_process

from dualattn.engine import DataError

__all__ = ['check_once']


def check_once(check: Callable[..., None], *args) -> None:
    """Call a check in the first process alone; if it finds a fault there, it is raised in all of them.

    Args:
        check: raises a FileNotFoundError or a DataError where something is wrong.
        args: what it is called with.

    Raises:
        FileNotFoundError: the check says so.
        DataError: the check says so.
    """
    outcome: list[Exception | None] = [None]
    if is_main_process():
        try:
            check(*args)
        except (FileNotFoundError, DataError) as error:
            outcome = [error]
    broadcast_object_list(outcome)  # does nothing where there is one process
    if outcome[0] is not None:
        raise outcome[0]
