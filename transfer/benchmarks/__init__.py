"""What `dualattn benchmark` measures of the backbone in classification and detection: a module for each suite."""
