"""Distillation: molecules, sampling, teacher labels, training."""
