"""Pictures of descents and of models.

==================  ================================================================
`plot_loss`         how the loss fell; several descents race on the same axes
`plot_surface`      contours of the objective, with the paths of descents on them
`animate_descent`   a descent as a GIF, on the surface or as the line that it fits
`plot_coefficients` the coefficients, largest first; several models side by side
`plot_path`         coefficients against the strength of the penalty
`plot_fit`          a model of one feature through its points
`plot_calibration`  whether probabilities are what they say
`plot_confusion`    which classes are taken for which
==================  ================================================================

All but `animate_descent` take ``ax=``, axes of Matplotlib to draw on, and return the axes. Matplotlib is imported
when a picture is drawn. Colours are those of Okabe and Ito, and cividis: told apart by colour-blind eyes too.
"""

from __future__ import annotations

from steepest.curves import plot_loss
from steepest.plot.classes import plot_calibration, plot_confusion
from steepest.plot.coefficients import plot_coefficients, plot_path
from steepest.plot.lines import plot_fit
from steepest.plot.surfaces import animate_descent, plot_surface

__all__ = [
    "animate_descent",
    "plot_calibration",
    "plot_coefficients",
    "plot_confusion",
    "plot_fit",
    "plot_loss",
    "plot_path",
    "plot_surface",
]
