"""Slot methods on frozen features, and k-means, the floor of their tables.

kmeans      k-means of keys, nothing trained
layers      the standard form of keys, their projection, and transformer layers
attention   slot attention, and its invariant form
decoder     from slots to masks and features: mixer, spatial broadcast, autoregressive
merging     slots of one thing joined, complete linkage
prototypes  TimeT's head: prototypes that patches are nearest to
smtc        SMTC: semantic slots, then instance slots within each
settings    what sets one method apart from another
model       SlotContrast, VideoSAUR, SAVi, STEVE, SOLV as one model
model_file  a trained model as a file
carry       a video seen chunk by chunk, ids that last
"""
