"""Turn gray photographs into colour ones: networks, their training, and the way from a photo to a photo."""

__all__ = ['Colorizer']


def __getattr__(name: str):
    # the pipeline pulls in torch and timm; `import colorization` alone should cost nothing
    if name == 'Colorizer':
        from colorization.pipeline import Colorizer

        return Colorizer
    if name == 'trunks':  # where it was up to version 0.1; scripts of users still ask for it there
        from colorization.encoders import trunks

        return trunks
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
