"""Training of the spatio-temporal block, self-supervised, on a folder of videos.

recipe      what a run does, read from a file
clips       the videos of a folder, and the windows drawn from them
augment     photometric augmentation of a window
features    frozen features of the windows, cached on disk
sampling    which clip, window and random numbers a step uses
start       the block before its first step
step        one step's losses, with explicit attention only where they read it
loop        the run: devices, optimiser, schedule
checkpoint  all that a run needs to go on
trial       the block tried on clips that it is not trained on, in numbers
monitor     losses to the terminal, JSON lines and TensorBoard; trials as the run goes on
panels      pictures of the attention
chart       a line chart
report      a run at a glance, drawn from its log
"""
