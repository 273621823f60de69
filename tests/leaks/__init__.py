"""Nothing that was told in confidence stands readable in any file."""
