"""Models by name, path or factory; cards, packages of others, exports."""
