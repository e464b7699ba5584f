"""What the screens are made of. Widgets show what they are given and own none of it."""
