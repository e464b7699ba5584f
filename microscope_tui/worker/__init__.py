"""The process behind the screen: a queue of jobs, one at a time, that outlives the terminal it was started from."""
