"""A shell with job control and a prompt that is known, as a program: for tests of what is started from one."""

import os

PROMPT = "here> "

if __name__ == "__main__":
    os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], os.environ | {"PS1": PROMPT})
