"""What a training step costs on an H100 and a TPU v5e, read from what XLA compiles for them. Neither is needed."""
