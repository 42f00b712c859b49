"""The networks whose features are compared: Inception, DINOv2 and the trunks of LPIPS, each from a file at hand.

Nothing is downloaded. A number is a score only with the weights that everyone else has used, so every file's sha256 is
compared with the one in `colorization.published`, and the result says which it was.
"""

import logging
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from colorization.published import PUBLISHED
from dualattn.engine import CheckpointError, DataError, read_checkpoint
from dualattn.io.files import hash_file
from dualattn.io.published import PublishedFile, suggest_download
from dualattn.io.weights import is_safetensors

__all__ = ['DINOv2', 'Inception', 'LPIPSDistance', 'NetworkWeights', 'describe_source', 'identify_weights']

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NetworkWeights:
    """A file of weights, as it stands in a record.

    Attributes:
        file: name of the file, without its folder.
        sha256: of its content.
        published: whether that is the hash of the file that published numbers were made with.
    """

    file: str
    sha256: str
    published: bool

    def to_dict(self) -> dict[str, Any]:
        """Return what a record says of it."""
        return asdict(self)


# the names under which `colorization.published` knows the files of a kind, the one to fetch first
FILES = {
    'inception': ('inception',),
    'dinov2': ('dinov2',),
    'lpips-alex': ('alexnet', 'alexnet_former'),
    'lpips-vgg': ('vgg16',),
}


def list_published(kind: str) -> list[PublishedFile]:
    """Return what is known of the files that published numbers of a kind, a key of `FILES`, were made with."""
    known = {file.name: file for file in PUBLISHED}
    return [known[name] for name in FILES[kind]]


def describe_source(kind: str) -> str:
    """Return the name of the file of a kind, a key of `FILES`, and where it is published."""
    file = list_published(kind)[0]
    return f'{file.file} from {file.url}'


def identify_weights(kind: str, path: str | Path) -> NetworkWeights:
    """Hash a file of weights and tell whether it is the published one.

    Args:
        kind: a key of `FILES`.
        path: the file.

    Raises:
        FileNotFoundError: there is no such file; the message says which is wanted and where it is published.
    """
    wanted = list_published(kind)
    path = Path(path).expanduser()
    if not path.is_file():
        what = f'{path} is a folder' if path.is_dir() else f'no weights at {path}'
        raise FileNotFoundError(f'{what}; --{kind} takes {describe_source(kind)}{suggest_download(wanted[0].file)}')
    sha256 = hash_file(path)
    published = any(file.sha256 is not None and sha256.startswith(file.sha256) for file in wanted)
    if not published:
        logger.warning(
            '%s has the sha256 %s, not that of %s: numbers made with it are no scores and are listed apart',
            path,
            sha256,
            wanted[0].file,
        )
    return NetworkWeights(path.name, sha256, published)


def _read(path: str | Path, kind: str) -> dict[str, Tensor]:
    """Read tensors by name, without running code that the file may hold.

    Raises:
        DataError: the file holds something else.
    """
    try:
        content = read_checkpoint(path)
    except CheckpointError as error:
        raise DataError(
            f"{error}. --{kind} takes {describe_source(kind)}; TorchScript such as clean-fid's inception-2015-12-05.pt "
            'is another layout'
        ) from error
    if not all(isinstance(value, Tensor) for value in content.values()):
        raise DataError(f'{path} holds more than tensors by name; --{kind} takes {describe_source(kind)}')
    return content


def _load(network: nn.Module, weights: dict[str, Tensor], path: str | Path, kind: str) -> None:
    """Load strictly.

    Raises:
        DataError: names or shapes differ.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        found = ', '.join(list(weights)[:3])
        layout = " (these are torchvision's names)" if 'AuxLogits.conv0.conv.weight' in weights else ''
        raise DataError(
            f'{path} has another layout than {type(network).__name__}: it begins with {found}{layout}; --{kind} takes '
            f'{describe_source(kind)}. {str(error).splitlines()[-1].strip()[:200]}'
        ) from error


class Inception(nn.Module):
    """torch-fidelity's Inception with its 2,048 features, those before the classifier.

    The 64 features of an early layer, the default of some libraries, give another number of the same name.

    Args:
        path: file of the weights.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it holds other weights.
    """

    kind = 'inception'
    figure = 'FID'
    dim = 2048

    def __init__(self, path: str | Path):
        super().__init__()
        self.weights = identify_weights(self.kind, path)
        # torch_fidelity is heavy, and needed by nobody who does not ask for FID
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        # torch-fidelity itself unpickles without restriction, so that the file passes the safe loader first
        weights = _read(path, self.kind)
        if is_safetensors(Path(path)):
            raise DataError(
                f'{path} is safetensors, which torch-fidelity does not read; --{self.kind} takes '
                f'{describe_source(self.kind)}'
            )
        try:
            self.network = FeatureExtractorInceptionV3(
                'inception-v3-compat', [str(self.dim)], feature_extractor_weights_path=str(path)
            )
        except RuntimeError as error:
            layout = " (these are torchvision's names)" if 'AuxLogits.conv0.conv.weight' in weights else ''
            raise DataError(
                f'{path} does not hold the Inception network of torch-fidelity: it begins with '
                f'{", ".join(list(weights)[:3])}{layout}; --{self.kind} takes {describe_source(self.kind)}'
            ) from error

    @torch.inference_mode()
    def forward(self, rgb: Tensor) -> Tensor:
        """Map (B, 3, H, W) uint8, which torch-fidelity resizes to 299 px itself, to (B, 2048) float32."""
        return self.network(rgb)[0]


class DINOv2(nn.Module):
    """The class token of DINOv2 ViT-S/14, with the resize, the norm and the positions of torch-fidelity's extractor.

    torch-fidelity fetches the network's code from the net; here it is timm's, fed as that code feeds it: 224 px, and
    the positions, learned at 37 x 37 patches, interpolated to 16 x 16 with DINOv2's own offset.

    Args:
        path: file of the weights.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it holds other weights.
    """

    mean: Tensor
    std: Tensor
    kind = 'dinov2'
    figure = 'FD_DINOv2'
    dim = 384
    SIDE = 224

    def __init__(self, path: str | Path):
        super().__init__()
        import timm
        from timm.models.vision_transformer import checkpoint_filter_fn

        self.weights = identify_weights(self.kind, path)
        weights = _read(path, self.kind)
        patches = self.SIDE // 14
        if 'pos_embed' not in weights or 'mask_token' not in weights:
            raise DataError(
                f'{path} has another layout than DINOv2: it begins with {", ".join(list(weights)[:3])}; --{self.kind} '
                f'takes {describe_source(self.kind)}'
            )
        positions = weights['pos_embed']  # (1, 1 + 37^2, 384)
        grid = round((positions.shape[1] - 1) ** 0.5)
        maps = positions[:, 1:].reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
        # DINOv2's interpolate_offset: the scale, not the size, decides where samples fall
        scale = (patches + 0.1) / grid
        maps = F.interpolate(maps.float(), scale_factor=(scale, scale), mode='bicubic', antialias=False)
        positions = torch.cat([positions[:, :1], maps.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
        network: Any = timm.create_model('vit_small_patch14_dinov2', img_size=self.SIDE, num_classes=0)
        weights = checkpoint_filter_fn(dict(weights, pos_embed=positions), network)
        _load(network, weights, path, self.kind)
        self.network = network.eval().requires_grad_(False)
        self.register_buffer('mean', 255 * torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer('std', 255 * torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    @torch.inference_mode()
    def forward(self, rgb: Tensor) -> Tensor:
        """Map (B, 3, H, W) uint8 to (B, 384) float32."""
        from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

        rgb = interpolate_bilinear_2d_like_tensorflow1x(rgb.float(), size=(self.SIDE, self.SIDE), align_corners=False)
        return self.network((rgb - self.mean) / self.std)


class LPIPSDistance(nn.Module):
    """LPIPS 0.1 by the package lpips, whose linear weights come with it; the trunk's come from a file.

    Args:
        trunk: 'alex' or 'vgg'.
        path: torchvision's ImageNet weights of AlexNet or VGG16.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it holds other weights.
    """

    def __init__(self, trunk: str, path: str | Path):
        super().__init__()
        import lpips

        self.kind = f'lpips-{trunk}'
        self.figure = f'LPIPS_{trunk}'
        self.weights = identify_weights(self.kind, path)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # torchvision's, about the way in which lpips asks for no weights
            self.network = lpips.LPIPS(net=trunk, pnet_rand=True, verbose=False)
        weights = _read(path, self.kind)
        # lpips cuts torchvision's `features` into slices and keeps the layers' numbers: slice2.3.weight is features.3
        features = {name: value for name, value in weights.items() if name.startswith('features.')}
        renamed: dict[str, Any] = {
            name: features.pop(f'features.{name.split(".", 1)[1]}', None) for name in self.network.net.state_dict()
        }
        if features or any(value is None for value in renamed.values()):
            raise DataError(
                f'{path} has another layout than the trunk of {self.kind}: it begins with '
                f'{", ".join(list(weights)[:3])}; --{self.kind} takes {describe_source(self.kind)}'
            )
        _load(self.network.net, renamed, path, self.kind)
        self.network.eval().requires_grad_(False)

    @torch.inference_mode()
    def forward(self, pred: Tensor, truth: Tensor) -> Tensor:
        """Map two (B, 3, H, W) uint8 to their distances (B,) float32."""
        return self.network(pred.float() / 255, truth.float() / 255, normalize=True).flatten()
