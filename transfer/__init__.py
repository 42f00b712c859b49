"""The Dual-Attention backbone in classification and detection, on OpenMMLab."""
