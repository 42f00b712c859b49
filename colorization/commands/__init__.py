"""The verbs of `dualattn` that colorize photographs and care for the weights of colorizers."""
