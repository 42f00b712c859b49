"""The published weights that configs of colorizers name, and our own former ones; see `dualattn.io.published`.

Sizes and hashes are those of the sources that are named; where no source gives them, there are none.
"""

from pathlib import Path

from dualattn.io.published import PublishedFile

__all__ = ['PACKAGED', 'PUBLISHED']

PACKAGED = Path(__file__).resolve().parent / 'weights'  # what travels with this package
_HUB = 'https://huggingface.co/piddnad/DDColor-models'
_TORCHVISION = 'BSD-3-Clause (torchvision); trained on ImageNet'
_PREFIX = 'the name of the file, which torch.hub checks'

PUBLISHED = [
    PublishedFile(
        name='mpt_small_l1',
        file='mpt_small_l1.safetensors',
        url='',
        licence='Apache-2.0',
        purpose='packaged until 2026-11-30: MPT without a palette head; configs/colorize/mpt_small_l1.py',
        size=11_231_856,
        sha256='fcd9199732014ee30a70298197d1329e8ec3c06ce6dcd374e79be75b7a2094f5',
        source='the history of this repository',
        blob='4f649e3f9b5869d54048e13992c3c36b3629e7ac',
    ),
    PublishedFile(
        name='mpt_small_palette',
        file='mpt_small_palette.safetensors',
        url='',
        licence='Apache-2.0',
        purpose='packaged before the training at 128 px: MPT with a palette head, after 86,400 samples',
        size=14_463_720,
        sha256='e5b4759036135e981d33400d9b45b7c41ec77da9c04cffd618f109d9f06614f9',
        source='the history of this repository',
        blob='6a2141e1cae4ff1cc936a20a084d9bb321ef83f9',
    ),
    PublishedFile(
        name='mpt_small_anneal',
        file='mpt_small_anneal.safetensors',
        url='',
        licence='Apache-2.0',
        purpose='packaged before mpt_small_long.py: MPT with a palette head, after 161,600 samples',
        size=14_463_736,
        sha256='0bc898e7ae96e9d6d9373e134fe85842a203951839c144ea1614c837d086fe6b',
        source='the history of this repository',
        blob='a11bd74a53826e161c35647e9de5f54360b0f42b',
    ),
    PublishedFile(
        name='mpt_small_262k',
        file='mpt_small_262k.safetensors',
        url='',
        licence='Apache-2.0',
        purpose='packaged before mpt_small_long.py had ended: MPT with a palette head, after 261,600 samples',
        size=14_463_736,
        sha256='e3d597fdf5c721f31ce1726bb0e85f77c928f7e5cd729b37ccfce6717af30517',
        source='the history of this repository',
        blob='50c2138b882592aa058bde9c8b6d4ee2ffb3726e',
    ),
    PublishedFile(
        name='vgg19',
        file='vgg19-dcbb9e9d.pth',
        url='https://download.pytorch.org/models/vgg19-dcbb9e9d.pth',
        licence=_TORCHVISION,
        purpose='perceptual loss of MPT',
        sha256='dcbb9e9d',
        source=_PREFIX,
    ),
    PublishedFile(
        name='vgg16_bn',
        file='vgg16_bn-6c64b313.pth',
        url='https://download.pytorch.org/models/vgg16_bn-6c64b313.pth',
        licence=_TORCHVISION,
        purpose='perceptual loss of DDColor',
        sha256='6c64b313',
        source=_PREFIX,
    ),
    PublishedFile(
        name='inception',
        file='weights-inception-2015-12-05-6726825d.pth',
        url='https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth',
        licence='Apache-2.0 (torch-fidelity; TensorFlow before)',
        purpose='FID',
        sha256='6726825d',
        source=_PREFIX,
    ),
    PublishedFile(
        name='alexnet',
        file='alexnet-owt-7be5be79.pth',
        url='https://download.pytorch.org/models/alexnet-owt-7be5be79.pth',
        licence=_TORCHVISION,
        purpose='LPIPS',
        sha256='7be5be79',
        source=_PREFIX,
    ),
    PublishedFile(
        name='alexnet_former',
        file='alexnet-owt-4df8aa71.pth',
        url='https://download.pytorch.org/models/alexnet-owt-4df8aa71.pth',
        licence=_TORCHVISION,
        purpose='LPIPS, from what earlier releases of torchvision fetch',
        sha256='4df8aa71',
        source=_PREFIX,
    ),
    PublishedFile(
        name='vgg16',
        file='vgg16-397923af.pth',
        url='https://download.pytorch.org/models/vgg16-397923af.pth',
        licence=_TORCHVISION,
        purpose='LPIPS with VGG',
        sha256='397923af',
        source=_PREFIX,
    ),
    PublishedFile(
        name='dinov2',
        file='dinov2_vits14_pretrain.pth',
        url='https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth',
        licence='Apache-2.0 (facebookresearch/dinov2)',
        purpose='Frechet distance of DINOv2',
        sha256='b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9',
        source='https://github.com/finegrain-ai/refiners/blob/30dbf44bab629e95713689d0d6b4289311baaae7/'
        'src/refiners/conversion/models/dinov2.py',
    ),
    PublishedFile(
        name='convnext_tiny',
        file='convnext_tiny_22k_224.pth',
        url='https://dl.fbaipublicfiles.com/convnext/convnext_tiny_22k_224.pth',
        licence='MIT (facebookresearch/ConvNeXt); trained on ImageNet-22K',
        purpose='encoder of DDColor-tiny before its training',
    ),
    PublishedFile(
        name='convnext_large',
        file='convnext_large_22k_224.pth',
        url='https://dl.fbaipublicfiles.com/convnext/convnext_large_22k_224.pth',
        licence='MIT (facebookresearch/ConvNeXt); trained on ImageNet-22K',
        purpose='encoder of DDColor-large before its training',
    ),
    PublishedFile(
        name='ddcolor_modelscope',
        file='ddcolor_modelscope.pth',
        url=f'{_HUB}/resolve/main/ddcolor_modelscope.pth',
        licence='Apache-2.0',
        purpose="DDColor-large, the authors' default",
        sha256='17c460d7e55b32a598370621d77173be59e03c24b0823f06821db23a50c263ce',
        source=f'{_HUB}/blob/e9e7b527709c8aeb2f5e1bf701e72fd468a13baa/ddcolor_modelscope.pth',
    ),
    PublishedFile(
        name='ddcolor_artistic',
        file='ddcolor_artistic.pth',
        url=f'{_HUB}/resolve/main/ddcolor_artistic.pth',
        licence='Apache-2.0',
        purpose='DDColor-large, trained without the colourfulness loss',
        size=911_950_059,
        sha256='a591ee5beedad36de703d8977e92d0c30c1eedc6453fd1b300f3b460842a23a9',
        source=f'{_HUB}/commit/1969bc566dd63355b6eb8b909d28271e2230bfec',
    ),
    PublishedFile(
        name='ddcolor_paper',
        file='ddcolor_paper.pth',
        url=f'{_HUB}/resolve/main/ddcolor_paper.pth',
        licence='Apache-2.0',
        purpose='DDColor-large as in the paper',
        sha256='789781789db1bafc2165e1cf9658580f871cce64a81901ec49127877813f10b9',
        source=f'{_HUB}/blob/e9e7b527709c8aeb2f5e1bf701e72fd468a13baa/ddcolor_paper.pth',
    ),
    PublishedFile(
        name='ddcolor_paper_tiny',
        file='ddcolor_paper_tiny.pth',
        url=f'{_HUB}/resolve/main/ddcolor_paper_tiny.pth',
        licence='Apache-2.0',
        purpose='DDColor-tiny as in the paper',
        sha256='81dd643904f4664c3718513e3320ae3db0c567f0d3e18398606659adee7bfc17',
        source=f'{_HUB}/blob/e9e7b527709c8aeb2f5e1bf701e72fd468a13baa/ddcolor_paper_tiny.pth',
    ),
]
