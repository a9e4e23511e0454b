"""Where images and their classes come from; all of it internal, `source.source(name)` is the door.

`parts`    what every kind of data is turned into: splits, the images of one as bytes, and batches of them, in an order
           that follows from the seed
`source`   a source by its name, and scikit-learn's digits
`folder`   a folder of images for each class, and how splits are laid out
`columns`  images and classes in the columns of a table; `tabular` has those of parquet files and of the hub
`images`   image files, which are hostile, to bytes

Of images with masks: `masks` has what all layouts share, `mask_folder` and `mask_tables` are the layouts, `labels`
tells what values of masks mean, `known_labels` what people know of some data.
"""

__all__: list[str] = []
