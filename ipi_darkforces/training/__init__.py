"""Training of models: networks, losses, optimizers. Nothing below imports it."""
