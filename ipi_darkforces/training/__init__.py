"""Training of models: networks, losses, optimizers; recipes with metatrain. Nothing below imports it."""
