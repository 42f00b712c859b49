"""The one place that chooses what commands compute on; `import dualattn` never loads it."""

import torch

__all__ = ['DeviceError', 'choose_device']


class DeviceError(ValueError):
    """A device that is named does not exist, or cannot be used here."""


def choose_device(name: str | None = None, metal: bool = True) -> torch.device:
    """Return the device to compute on: the one that is named, or the best that is here.

    Without a name it is a CUDA GPU, then Apple's GPU (`mps`, Metal), then the CPU.

    Args:
        name: as torch writes it, `cpu`, `cuda`, `cuda:1`, `mps`; None to choose.
        metal: False for what Apple's GPU has no operators for, or no exact ones; it then has to be named.

    Raises:
        DeviceError: the device that is named cannot be used here.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device('cuda')
        return torch.device('mps' if metal and torch.backends.mps.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # a device of another kind, of a high number, or without a driver
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip('.')
        raise DeviceError(f'--device {name} cannot be used here: {reason}; without --device it is chosen') from error
    return device
