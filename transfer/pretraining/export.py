"""What a pretraining is for: the weights of the student alone."""

from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from safetensors.torch import save

from dualattn.io.files import write_whole

__all__ = ['StudentExportHook']


@HOOKS.register_module()
class StudentExportHook(Hook):
    """Write a part of the model to `work_dir/FILENAME` with every checkpoint, so also at the end of the training.

    It is the averaged part where EMAHook keeps one. The names in the file are timm's: `timm.create_model` takes it as
    `checkpoint_path`, `init_cfg` of backbones here without a prefix, and a colorizer as `encoder_weights`.

    Args:
        filename: name inside the work dir.
        part: the model's attribute that is written.
        half: store half precision, half the size.
    """

    priority = 'LOW'  # after EMAHook has put the averaged weights into the checkpoint

    def __init__(self, filename: str = 'student.safetensors', part: str = 'student', half: bool = False):
        self.filename = filename
        self.part = part
        self.half = half

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Export beside the checkpoint that is about to be written; mmengine calls this in the first process only."""
        prefix = f'{self.part}.'
        tensors = {}
        for name, tensor in checkpoint['state_dict'].items():
            if name.startswith(prefix):
                tensor = tensor.detach().cpu()
                tensor = tensor.half() if self.half and tensor.is_floating_point() else tensor
                tensors[name.removeprefix(prefix)] = tensor.clone().contiguous()
        path = Path(runner.work_dir, self.filename)
        config = Path(runner.cfg.filename).name if runner.cfg.filename else runner.experiment_name
        with write_whole(path) as aside:
            aside.write_bytes(save(tensors, dict(iteration=str(checkpoint['meta']['iter']), config=config)))
        runner.logger.info(f'Weights of the {self.part} alone: {path}')
