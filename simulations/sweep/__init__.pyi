from .cli import sweep_command as sweep_command
