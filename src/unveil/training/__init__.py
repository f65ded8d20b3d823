"""Training on a folder of videos, without labels: of the block, and of the objects' head.

recipe          what a run does, read from a file
clips           the videos of a folder, and the windows drawn from them
augment         photometric augmentation of a window
features        frozen features of the windows, cached on disk
sampling        which clip, window and random numbers a step uses
start           the block before its first step
step            one step's losses, with explicit attention only where they read it
method          what the loop has to know of what it trains
loop            the run: devices, optimiser, checkpoints
watcher         what a run tells while it goes on
preparation     the clips of a run, and what is computed of each before it begins
windows_method  what is the same of all that read windows of clips
block_method    the block's rates and losses
checkpoint      all that a run needs to go on
trial           the block tried on clips that it is not trained on, in numbers
monitor         losses to the terminal, JSON lines and TensorBoard; trials as the run goes on
panels          pictures of the attention
chart           a line chart
report          a run at a glance, drawn from its log

And for models on frozen features, whose clips are trained on together:

features_method    what is the same of all
features_monitor   the run as it goes on, and its report
slots_recipe       what a run of a slot method does
slots_losses       what it is trained to say
slots_method       its rates and losses
prototypes_recipe  what a run of TimeT's head does
forwarding         its loss: assignments forwarded by features
prototypes_method  its rates
transport          Sinkhorn-Knopp, for it and for SMTC
teacher            a model and its slow copy
smtc_recipe        what a run of SMTC does
smtc_losses        what it is trained to say
smtc_method        its rates, its teacher

And for the objects' head, on composites of what is found in the clips:

objects_recipe   what such a run does
sources          a few frames of each clip, and what is found in them
cutouts          what is surely one thing of that, to be pasted elsewhere
scenes           what is pasted where, drawn
composites       the pasting, and the exact truth of it
composite_data   composites with their frozen features, cached on disk
objects_loss     what the head is trained to say
objects_method   its data, rates and losses
objects_monitor  the run as it goes on, and its report
"""
