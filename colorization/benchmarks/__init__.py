"""What `dualattn benchmark` measures of colorization: a module for each suite."""
