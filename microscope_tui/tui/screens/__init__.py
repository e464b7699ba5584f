"""The screens that open over the explorer: pickers, jobs, help."""
