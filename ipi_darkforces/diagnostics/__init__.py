"""Diagnostics of models: errors against reference data, Jacobian, work, strides, optimisations."""
