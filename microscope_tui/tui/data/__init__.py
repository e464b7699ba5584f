"""Where what is shown comes from: the store and the worker, asked and heard without holding up the screen."""
