"""Kinds of corruptions with their strengths, as the entry points of ``featx.corruptions`` name them.

The kinds are the 19 of ImageNet-C [1]_ under their names there, and four more. Sizes are relative to the shorter side
of the image, so that small and large pictures are corrupted alike; strengths are chosen for pictures of any content,
not copied from a data set. Probes change what a network may rely on instead of damaging the image.

References
----------
.. [1] D. Hendrycks, T. Dietterich, Benchmarking neural network robustness to common corruptions and perturbations,
   ICLR 2019.
"""

from featx.robustness.corruptions import blur, compression, geometry, noise, probes, weather
from featx.robustness.corruptions.corruption import Corruption

gaussian_noise = Corruption("noise", noise.add_gaussian, (0.04, 0.08, 0.12, 0.18, 0.26))
shot_noise = Corruption("noise", noise.add_shot, (1 / 250, 1 / 100, 1 / 50, 1 / 25, 1 / 12))
impulse_noise = Corruption("noise", noise.add_impulses, (0.01, 0.03, 0.06, 0.11, 0.18))
speckle_noise = Corruption("noise", noise.multiply_speckle, (0.1, 0.18, 0.28, 0.4, 0.55))
defocus_blur = Corruption("blur", blur.defocus, (0.008, 0.014, 0.022, 0.032, 0.045))
glass_blur = Corruption("blur", blur.through_glass, (0.005, 0.009, 0.015, 0.025, 0.04))
motion_blur = Corruption("blur", blur.move, (0.03, 0.05, 0.08, 0.12, 0.17))
zoom_blur = Corruption("blur", blur.zoom, (0.06, 0.11, 0.16, 0.22, 0.3))
gaussian_blur = Corruption("blur", blur.gaussian, (0.008, 0.013, 0.019, 0.027, 0.038))
snow = Corruption("weather", weather.add_snow, (0.15, 0.25, 0.35, 0.47, 0.6))
frost = Corruption("weather", weather.add_frost, (0.2, 0.32, 0.43, 0.54, 0.65))
fog = Corruption("weather", weather.add_fog, (0.2, 0.32, 0.44, 0.56, 0.68))
spatter = Corruption("weather", weather.add_spatter, (0.06, 0.11, 0.17, 0.24, 0.32))
brightness = Corruption("light", weather.brighten, (0.08, 0.16, 0.25, 0.34, 0.44))
contrast = Corruption("light", weather.lower_contrast, (0.25, 0.4, 0.55, 0.7, 0.85))
saturate = Corruption("light", weather.change_saturation, (0.3, 0.6, 1.0, 1.5, 2.2))
pixelate = Corruption("compression", compression.pixelate, (1.5, 2.2, 3.2, 4.6, 6.5))
jpeg_compression = Corruption("compression", compression.compress_jpeg, (40, 25, 15, 9, 5))
jpeg_recompression = Corruption("compression", compression.recompress_jpeg, (70, 55, 40, 28, 18))
elastic_transform = Corruption("geometry", geometry.deform, (0.008, 0.014, 0.021, 0.03, 0.042))
occlusion = Corruption("geometry", geometry.occlude, (0.05, 0.1, 0.16, 0.24, 0.34))
rotation = Corruption("geometry", geometry.rotate, (5, 10, 17, 26, 38))
shift = Corruption("geometry", geometry.shift, (0.04, 0.08, 0.13, 0.19, 0.27))

# The strengths are positions in the list of directions, patches on each side, and standard deviations of a blur.
pixel_shift = Corruption("probe", probes.shift_by_one_pixel, tuple(range(len(probes.DIRECTIONS))))
patch_shuffle = Corruption("probe", probes.shuffle_patches, (2, 3, 4, 6, 8))
edges = Corruption("probe", probes.keep_edges, (0.006,))
