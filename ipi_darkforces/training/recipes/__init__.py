"""Recipes of training with metatrain: from labelled structures to a model with a name."""
