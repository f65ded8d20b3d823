"""The figure that the method is named after: what one patch of a video attends to.

look     what is shown: frames, and the attention of a patch over them
sheet    as a picture, PNG or SVG
film     as a movie
page     as a page of one file
"""
