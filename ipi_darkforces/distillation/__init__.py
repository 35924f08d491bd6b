"""Distillation: a small direct model as the fast forces of a slow, conservative one."""
