"""Pretrained weights inside published Python packages, converted to safetensors; see ``make weights``."""
