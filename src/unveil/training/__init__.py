"""Training of the spatio-temporal block, self-supervised, on a folder of videos.

recipe      what a run does, read from a file
clips       the videos of a folder, and the windows drawn from them
augment     photometric augmentation of a window
features    frozen features of the windows, cached on disk
step        one step's losses, with explicit attention only where they read it
loop        the run: devices, optimiser, schedule, checkpoints
monitor     losses to the terminal, JSON lines and TensorBoard; the block tried on a few clips
report      pictures of a run
"""
