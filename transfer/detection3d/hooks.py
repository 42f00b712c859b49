"""What a training on point clouds does between its epochs."""

import numpy as np
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

__all__ = ['ObjectOrderHook']


@HOOKS.register_module()
class ObjectOrderHook(Hook):
    """Draw the order in which objects of the database are pasted anew for each epoch.

    mmdet3d's samplers go on from where they stopped, which a checkpoint does not hold, and loading processes that start
    with an epoch begin where the main process is: always at the first object. Stands behind
    `dualattn.engine.SeedIterationHook`, so that a resumed epoch pastes what it would have pasted without the
    interruption.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Shuffle the objects of every class, see `mmengine.hooks.Hook`."""
        dataset = runner.train_dataloader.dataset
        while not hasattr(dataset, 'pipeline'):
            dataset = dataset.dataset
        for transform in dataset.pipeline.transforms:
            if hasattr(transform, 'db_sampler'):
                for sampler in transform.db_sampler.sampler_dict.values():
                    sampler._indices = np.random.permutation(len(sampler._sampled_list))
                    sampler._idx = 0
