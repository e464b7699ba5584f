"""The process behind the screen: a queue of jobs, one at a time on each GPU, that outlives the terminal."""
