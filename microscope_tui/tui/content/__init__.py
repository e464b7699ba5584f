"""What is shown, as plain values: pure functions of what is chosen and what is known. Nothing here draws."""
