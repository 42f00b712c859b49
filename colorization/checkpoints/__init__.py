"""Files of network weights: ours describe their network; those of foreign families are translated at the door."""

from colorization.checkpoints.networks import default_weights_path, load_network, save_network
from dualattn.io.weights import CheckpointError

__all__ = ['CheckpointError', 'default_weights_path', 'load_network', 'save_network']
