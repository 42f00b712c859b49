"""The trained network alone, as a weights file that the pipeline loads."""

from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from colorization.checkpoints import save_network
from dualattn.engine import unwrap


@HOOKS.register_module()
class ExportWeightsHook(Hook):
    """Write the network to `work_dir/weights.safetensors` with every training checkpoint, so also at the end.

    It is the averaged network where the system keeps one (`ema_generator`), the trained one otherwise, and needs
    nothing of mmengine to be used: `dualattn colorize --weights work_dir/weights.safetensors`.

    Args:
        filename: name inside the work dir.
        half: store half precision, half the size.
    """

    def __init__(self, filename: str = 'weights.safetensors', half: bool = False):
        self.filename = filename
        self.half = half

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Export beside the checkpoint that is about to be written; mmengine calls this in the first process only."""
        system = unwrap(runner.model)
        averaged = getattr(system, 'ema_generator', None)
        network = unwrap(system.generator) if averaged is None else averaged.module
        path = Path(runner.work_dir, self.filename)
        save_network(
            network,
            path,
            half=self.half,
            iteration=str(checkpoint['meta']['iter']),
            config=Path(runner.cfg.filename).name if runner.cfg.filename else runner.experiment_name,
            averaged=str(averaged is not None).lower(),
        )
        runner.logger.info(f'Weights of the network alone: {path}')
