from .cli import compare_command as compare_command
