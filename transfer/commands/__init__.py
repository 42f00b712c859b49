"""The verbs of `dualattn` that classify photographs, find objects, and prepare data for that."""
