"""Print what was built and which backend each operator takes: `python -m dualattn.ops`."""

import os

import torch

from dualattn.ops import library
from dualattn.ops.backends import DTYPES, MAX_DIM, MAX_TOKENS, explain

ROWS = [
    (device, dtype)
    for device in ('cpu', 'cuda')
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64)
]


def main() -> None:
    """Print the report."""
    forced = os.environ.get('DUALATTN_BACKEND', '')
    if library.is_loaded():
        built = {device: [str(dtype).removeprefix('torch.') for dtype in dtypes] for device, dtypes in DTYPES.items()}
        print(f'CPU kernels: built ({", ".join(built["cpu"])}), instruction set here: {library.cpu_instruction_set()}')
        cuda = f'built ({", ".join(built["cuda"])})' if library.has_cuda_kernels() else 'not built'
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'no CUDA device here'
        print(f'CUDA kernels: {cuda}; {device}')
    else:
        print(f'no kernels: {library.LOAD_PROBLEM}')
    photo = 'built' if library.has_photo_kernels() else 'not built, torch computes the same'
    print(f'kernels for photographs: {photo}')
    print(f'DUALATTN_BACKEND: {forced or "not set"}\n')
    print(f'{"device":8}{"dtype":10}{"sda":11}{"fca":11}why')
    for device, dtype in ROWS:
        try:
            backend, reason = explain(device, dtype, forced=forced)
        except RuntimeError as error:
            backend, reason = 'error', str(error)
        print(f'{device:8}{str(dtype).removeprefix("torch."):10}{backend:11}{backend:11}{reason}')
    print(
        f'\nThe reference also takes windows of more than {MAX_TOKENS} tokens, heads or groups of more than '
        f'{MAX_DIM} channels, other devices, TorchScript and torch.export.'
    )
    print(
        'The CUDA kernels use tensor cores for float16 and bfloat16, from compute capability 8.0 on, where heads and '
        'groups have 8, 16, ... or 64 channels; other calls compute in float32.'
    )


if __name__ == '__main__':
    main()
