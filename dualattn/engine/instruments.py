"""Frozen networks that a training measures or learns by, and that come from files of their own."""

import itertools

from torch import Tensor, nn

__all__ = ['freeze_as_buffers', 'leave_out_of_checkpoints']


def freeze_as_buffers(network: nn.Module) -> None:
    """Turn all parameters into buffers: optimizers, averages and wrappers of distributed training see none to train."""
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach())


def leave_out_of_checkpoints(module: nn.Module) -> None:
    """Let checkpoints neither hold the tensors of a module nor miss them."""
    module.register_state_dict_post_hook(_drop_tensors)
    module.register_load_state_dict_pre_hook(_supply_tensors)


def _drop_tensors(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, local_metadata: dict) -> None:
    for name in [name for name in state_dict if name.startswith(prefix)]:
        del state_dict[name]


def _supply_tensors(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *args) -> None:
    tensors = itertools.chain(module.named_parameters(prefix[:-1]), module.named_buffers(prefix[:-1]))
    state_dict.update({name: tensor.detach() for name, tensor in tensors})
