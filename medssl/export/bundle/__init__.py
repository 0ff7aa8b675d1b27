"""What a MONAI bundle runs in place of medssl: these modules, and those of the data room they import, go into it."""
