"""The training of a colorizer: generator against critic, on mmengine."""

import logging
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel, ExponentialMovingAverage
from mmengine.optim import OptimWrapperDict
from mmengine.registry import MODELS
from torch import Tensor
from torchvision.transforms.v2.functional import adjust_saturation

import colorization.losses  # noqa: F401  registers the losses
from colorization.checkpoints import default_weights_path, load_network
from colorization.color import gray_rgb_from_l, lab_to_rgb, rgb_to_lab
from colorization.decoders import ColorMemoryDecoder, PaletteHead
from colorization.models import NETWORKS, Critic, PatchDiscriminator
from dualattn.engine import unwrap

__all__ = ['GANColorizer']

for _network in (*NETWORKS.values(), Critic, PatchDiscriminator):
    MODELS.register_module(module=_network)


def see_l(l: Tensor, gray: list[Tensor] | Tensor | None) -> Tensor:
    """Return what the network sees, (B, 1, H, W) in [0, 100]: an image's own lightness l, or that of another gray one.

    Args:
        l: (B, 1, H, W) in [0, 100].
        gray: (B, 1, H, W) uint8, or a list of (1, H, W); None where nothing has degraded the images.
    """
    if gray is None:
        return l
    levels = torch.stack(tuple(gray)).float() / 255
    return rgb_to_lab(levels.expand(-1, 3, -1, -1))[0]


class MovableAverage(ExponentialMovingAverage):
    """Moving average of a network, buffers included, that may be moved to another device.

    mmengine's class averages into the tensors that the copy had when it was made. After `.to('cuda')` these belong to
    nobody, and the averaged network would stay as it began.
    """

    def _apply(self, *args, **kwargs) -> 'MovableAverage':
        super()._apply(*args, **kwargs)
        self.avg_parameters = self.module.state_dict()
        return self


@MODELS.register_module()
class GANColorizer(BaseModel):
    """Train a network that maps lightness to colour, with or without an adversary (MPT III-D, DDColor 3.4).

    Batches hold `inputs`, (B, 3, H, W) sRGB images that the data preprocessor scales to [0, 1], and `path`; where the
    data set degrades them as old photographs are, also `gray`, what the network is shown instead of their lightness.

    Args:
        generator: the colorization network, l -> ab.
        critic: the network that scores images; None trains without an adversary.
        pixel_loss: distance on ab.
        generator_weights: weights file from which the generator starts; 'packaged' for the one that ships with the
            package; None starts untrained, but for the encoder.
        perceptual_loss: distance of features; None leaves it out.
        adversarial_loss: a `GANLoss`; needed with a critic.
        colorfulness_loss: a `ColorfulnessLoss`; None leaves it out.
        palette_loss: a `PaletteLoss` for a generator with the palette head; None leaves it out.
        gradient_penalty: a `GradientPenalty` on the critic; None leaves it out.
        weight_clip: bound on the critic's weights after each of its updates (0.01 in the paper that MPT cites); None
            leaves them free.
        critic_steps: updates of the critic for one of the generator.
        real_saturation: saturation of the real image that the perceptual loss and the critic see, over its own (DDColor
            4.1, colour augmentation "to real color images": 1.2 in the public training). The target of the losses on ab
            and what the network sees stay as they are.
        ema_momentum: share of the new weights in the moving average that validation uses; None keeps no average.
        channels_last: keep the generator's kernels in the order that convolutions on CPUs and tensor cores prefer.
        torch_compile: compile generator and critic with torch.compile.
        data_preprocessor: mmengine's data preprocessor.

    Raises:
        CheckpointError: `generator_weights` do not fit the generator.
        ValueError: a critic without adversarial loss, a penalty, clipping or `critic_steps` without a critic,
            `critic_steps` below 1, or a palette loss without palette head, or one that has no colours yet.
    """

    def __init__(
        self,
        generator: dict,
        pixel_loss: dict,
        generator_weights: str | None = None,
        critic: dict | None = None,
        perceptual_loss: dict | None = None,
        adversarial_loss: dict | None = None,
        colorfulness_loss: dict | None = None,
        palette_loss: dict | None = None,
        gradient_penalty: dict | None = None,
        weight_clip: float | None = None,
        critic_steps: int = 1,
        real_saturation: float = 1.0,
        ema_momentum: float | None = None,
        channels_last: bool = False,
        torch_compile: bool = False,
        data_preprocessor: dict | None = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor)
        if (critic is None) != (adversarial_loss is None):
            raise ValueError('critic and adversarial_loss belong together: give both or neither')
        if critic is None and (gradient_penalty is not None or weight_clip is not None):
            raise ValueError('gradient_penalty and weight_clip act on a critic, but there is none')
        if critic_steps < 1:
            raise ValueError(f'critic_steps has to be at least 1, got {critic_steps}')
        if critic is None and critic_steps > 1:
            raise ValueError(f'critic_steps={critic_steps} makes the generator wait for a critic, but there is none')
        self.generator = MODELS.build(generator)
        if generator_weights is not None:
            is_packaged = generator_weights == 'packaged'
            path = default_weights_path() if is_packaged else generator_weights
            # the generator's own description: a file of another architecture is an error there
            network = load_network(path, self.generator.config)
            self.generator.load_state_dict(network.state_dict())
        if channels_last:
            self.generator.to(memory_format=torch.channels_last)
        self.critic: Any = None if critic is None else MODELS.build(critic)
        self.pixel_loss = MODELS.build(pixel_loss)
        self.perceptual_loss = None if perceptual_loss is None else MODELS.build(perceptual_loss)
        self.adversarial_loss = None if adversarial_loss is None else MODELS.build(adversarial_loss)
        self.colorfulness_loss = None if colorfulness_loss is None else MODELS.build(colorfulness_loss)
        self.palette_loss = None if palette_loss is None else MODELS.build(palette_loss)
        if self.palette_loss is not None:
            head = getattr(self.generator, 'to_ab', None)
            if not isinstance(head, PaletteHead):
                raise ValueError("palette_loss needs a generator with head='palette'")
            if not head.colors.is_meta and not bool(head.colors.any()):
                raise ValueError(
                    'the palette of the generator is empty: name a file, generator.palette, or weights to start from, '
                    'generator_weights'
                )
        reader = getattr(self.generator, 'color_decoder', None)
        if isinstance(reader, ColorMemoryDecoder) and reader.is_random and generator_weights is None:
            print_log(
                'the colour memory of the generator is random, so that this is not the CM of MPT Table II: `dualattn '
                'memory CONFIG -o FILE` makes one for --cfg-options model.generator.memory=FILE',
                logger='current',
                level=logging.WARNING,
            )
        self.gradient_penalty = None if gradient_penalty is None else MODELS.build(gradient_penalty)
        if not 0 <= real_saturation < float('inf'):
            raise ValueError(f'real_saturation has to be 0 or more, got {real_saturation}')
        self.real_saturation = real_saturation
        self.weight_clip = weight_clip
        self.critic_steps = critic_steps
        self.ema_generator = None
        if ema_momentum is not None:
            self.ema_generator = MovableAverage(self.generator, momentum=ema_momentum, update_buffers=True)
        self.register_buffer('train_steps', torch.zeros((), dtype=torch.long))
        if torch_compile:
            self.generator.compile()
            if self.critic is not None:
                self.critic.compile()

    def train_step(self, data: dict, optim_wrapper: OptimWrapperDict) -> dict[str, Tensor]:
        """Update the critic, then the generator, on one batch.

        Args:
            data: a batch as the data loader collates it.
            optim_wrapper: wrappers named 'generator' and, with a critic, 'critic'.

        Returns:
            What the log shows: every loss term, and the critic's mean scores as `d_real` and `d_fake`.
        """
        batch = self.data_preprocessor(data, training=True)
        rgb = batch['inputs']
        l, ab = rgb_to_lab(rgb)
        seen_l = see_l(l, batch.get('gray'))
        # Counted in updates of the critic, not in batches: with gradient accumulation all batches of one update belong
        # to the same turn.
        generator_turn = self.critic_steps == 1 or (int(self.train_steps) + 1) % self.critic_steps == 0
        with optim_wrapper['generator'].optim_context(self.generator), torch.set_grad_enabled(generator_turn):
            pred_ab, scores = self._predict(seen_l)
        pred_rgb = lab_to_rgb(l, pred_ab)

        log = {}
        if self.critic is not None:
            log.update(self._update_critic(self._as_shown(rgb), pred_rgb.detach(), optim_wrapper['critic']))
            if optim_wrapper['critic'].should_update():
                self.train_steps += 1
        if generator_turn:
            log.update(self._update_generator(pred_ab, scores, ab, pred_rgb, rgb, optim_wrapper['generator']))
        return log

    def _as_shown(self, rgb: Tensor) -> Tensor:
        """Return the real images (B, 3, H, W) as the perceptual loss and the critic see them."""
        return rgb if self.real_saturation == 1 else adjust_saturation(rgb, self.real_saturation)

    def _update_critic(self, rgb: Tensor, pred_rgb: Tensor, optim_wrapper) -> dict[str, Tensor]:
        with optim_wrapper.optim_context(self.critic):
            # one pass over both halves, because distributed training expects one forward for each backward
            real_scores, fake_scores = self.critic(torch.cat([rgb, pred_rgb])).chunk(2)
            loss_critic = self.adversarial_loss.critic_loss(real_scores, fake_scores)
        log = dict(
            loss_critic=loss_critic.detach(),
            d_real=real_scores.detach().float().mean(),
            d_fake=fake_scores.detach().float().mean(),
        )
        if self.gradient_penalty is not None:
            # its second derivatives are more than torch.compile can do, so the critic's plain forward is called
            penalty = self.gradient_penalty(unwrap(self.critic).forward, rgb, pred_rgb)
            log['loss_gp'] = penalty.detach()
            loss_critic = loss_critic + penalty
        optim_wrapper.update_params(loss_critic)
        if self.weight_clip is not None:
            with torch.no_grad():
                for parameter in self.critic.parameters():
                    parameter.clamp_(-self.weight_clip, self.weight_clip)
        return log

    def _update_generator(
        self, pred_ab: Tensor, scores: Tensor | None, ab: Tensor, pred_rgb: Tensor, rgb: Tensor, optim_wrapper
    ) -> dict[str, Tensor]:
        with optim_wrapper.optim_context(self.generator):
            losses = self._generator_losses(pred_ab, scores, ab, pred_rgb, rgb)
        loss = sum(losses.values())
        optim_wrapper.update_params(loss)
        if self.ema_generator is not None and optim_wrapper.should_update():
            self.ema_generator.update_parameters(unwrap(self.generator))
        return {name: value.detach() for name, value in dict(losses, loss=loss).items()}

    def _predict(self, l: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return ab, and the scores of the palette where a loss asks for them."""
        return (self.generator(l), None) if self.palette_loss is None else self.generator(l, return_scores=True)

    def _generator_losses(
        self, pred_ab: Tensor, scores: Tensor | None, ab: Tensor, pred_rgb: Tensor, rgb: Tensor
    ) -> dict[str, Tensor]:
        """Evaluate the terms of MPT Eq. 16 and DDColor Eq. 9, and that of the palette."""
        losses = dict(loss_pix=self.pixel_loss(pred_ab, ab))
        if self.palette_loss is not None:
            head = unwrap(self.generator).to_ab
            losses['loss_palette'] = self.palette_loss(scores, ab, head.colors, head.frequencies)
        if self.perceptual_loss is not None:
            losses['loss_per'] = self.perceptual_loss(pred_rgb, self._as_shown(rgb))
        if self.critic is not None:
            # the critic is fixed here; its wrapper would wait for gradients that never come
            critic = unwrap(self.critic).requires_grad_(False)
            losses['loss_g'] = self.adversarial_loss.generator_loss(critic(pred_rgb))
            critic.requires_grad_(True)
        if self.colorfulness_loss is not None:
            losses['loss_col'] = self.colorfulness_loss(pred_rgb)
        return losses

    def forward(
        self,
        inputs: Tensor,
        path: list[str] | None = None,
        gray: list[Tensor] | Tensor | None = None,
        data_samples: list | None = None,
        mode: str = 'tensor',
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Any]]:
        """Colorize the gray version of colour images, with the averaged weights where there are any.

        Args:
            inputs: (B, 3, H, W) float, sRGB in [0, 1].
            path: where the images came from.
            gray: (B, 1, H, W) uint8 in [0, 255], what the network sees where that is not the inputs' own lightness.
            data_samples: unused, part of mmengine's contract.
            mode: 'tensor' for ab (B, 2, H, W) in Lab units, 'predict' for the pictures, 'loss' for the generator's
                losses without gradient penalty and critic updates.

        Returns:
            By `mode`. 'predict' gives a dict for each image: path, l (1, H, W) in [0, 100], pred_ab (2, H, W), and
            gt_rgb, pred_rgb, gray_rgb (3, H, W) in [0, 1] on the 256 levels of an 8-bit file.

        Raises:
            ValueError: `mode` is none of the three.
        """
        l, ab = rgb_to_lab(inputs)
        seen_l = see_l(l, gray)
        if mode == 'loss':
            pred_ab, scores = self._predict(seen_l)
            return self._generator_losses(pred_ab, scores, ab, lab_to_rgb(l, pred_ab), inputs)
        if mode not in ('tensor', 'predict'):
            raise ValueError(f"mode has to be 'tensor', 'predict' or 'loss', got {mode!r}")
        pred_ab = (self.generator if self.ema_generator is None else self.ema_generator)(seen_l).float()
        if mode == 'tensor':
            return pred_ab
        pictures = dict(gt_rgb=inputs, pred_rgb=lab_to_rgb(l, pred_ab), gray_rgb=gray_rgb_from_l(l))
        pictures = {name: (rgb * 255).round() / 255 for name, rgb in pictures.items()}
        pictures.update(l=l, pred_ab=pred_ab)
        path = path or [''] * len(inputs)
        return [
            dict(path=path[i], **{name: batch[i].cpu() for name, batch in pictures.items()}) for i in range(len(inputs))
        ]
