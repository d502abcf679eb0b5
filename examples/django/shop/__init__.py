"""The Django application of the shop."""
