"""Trainable systems: networks, losses and optimisation joined for mmengine's Runner."""

from colorization.systems.gan_colorizer import GANColorizer
from colorization.systems.optim import PerNetworkOptimWrapperConstructor

__all__ = ['GANColorizer', 'PerNetworkOptimWrapperConstructor']
