"""Starting the processes that train together; the entry is `devices.on_devices`.

Why `torchrun` alone does not do (it works too, and is the way to several machines):

- A fit is called from a notebook, from Python or by QIIME 2, whose command line is never run again.
- A user's mistake is one line: the error of a worker is raised in the caller as it was.
- SIGTERM, SIGUSR1 and Ctrl-C reach the workers as a request to save a checkpoint, which has time.
- No worker outlives its parent, even in a collective call that hangs; none is left behind one that
  failed.
- A worker that died is started again, and continues from the checkpoint of this very launch.

`processes` is the parent's side, `worker` that of each new process; `environment` says what a
process is part of, whoever started it; `signals` holds a signal until a loop asks for it.
"""
