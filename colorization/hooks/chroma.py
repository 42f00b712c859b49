"""A warning for the most common failure of training a colorizer: everything turns gray."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from colorization.metrics import MeanChroma


@HOOKS.register_module()
class ChromaWatchHook(Hook):
    """Warn after a validation in which the predictions have lost their colour, and say what to do about it.

    Reads the two numbers of the metric `MeanChroma`, which has to stand in `val_evaluator`.

    Args:
        min_ratio: warn below this fraction of the photographs' mean chroma.
        begin: iterations to wait, since every network starts out gray.

    Raises:
        ValueError: `min_ratio` is no fraction, or `begin` is negative.
    """

    priority = 'LOW'

    def __init__(self, min_ratio: float = 0.25, begin: int = 1000):
        if not 0 < min_ratio < 1:
            raise ValueError(f'ChromaWatchHook needs min_ratio in (0, 1), got {min_ratio}.')
        if begin < 0:
            raise ValueError(f'ChromaWatchHook needs begin >= 0, got {begin}.')
        self.min_ratio = min_ratio
        self.begin = begin

    def before_train(self, runner) -> None:
        """Find out now, not at the first validation, whether there will be anything to watch.

        Raises:
            ValueError: the training validates without `MeanChroma`.
        """
        metrics = [] if runner.val_loop is None else runner.val_loop.evaluator.metrics
        if metrics and not any(isinstance(metric, MeanChroma) for metric in metrics):
            names = [type(metric).__name__ for metric in metrics]
            raise ValueError(f"ChromaWatchHook needs dict(type='MeanChroma') in val_evaluator, which has {names}.")

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Compare the mean chroma of predictions and photographs."""
        if runner.iter < self.begin:
            return
        chroma, truth = metrics['color/chroma'], metrics['color/chroma_truth']
        # Written so that a NaN warns, too.
        if not chroma >= self.min_ratio * truth:
            runner.logger.warning(
                f'The colours have collapsed: at iteration {runner.iter} the mean chroma of the predictions is '
                f'{chroma:.2f} Lab units, below {self.min_ratio:.0%} of the {truth:.2f} of the photographs. What '
                'helps: a larger weight of the adversarial or the perceptual loss against the pixel loss (an L1 loss '
                'alone averages all possible colours to gray), ColorEnhance among the training transforms, a smaller '
                'learning rate if the losses jump, and no gray images among the training data. If the validation '
                'photographs themselves are nearly gray, choose others.'
            )
