"""Augmentations on whole batches: f32 [n, channels, h, w] in 0..1 in and out, one draw for each image."""

import math

import torch
import torch.nn.functional as F

LUMA = (0.299, 0.587, 0.114)


def uniform(n, low, high, generator):
    return low + (high - low) * torch.rand(n, generator=generator, device=generator.device)


def flip(images, generator):
    """Mirrors half of the images."""
    chosen = uniform(len(images), 0, 1, generator) < 0.5
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(3), images)


def crop_and_flip(images, generator, smallest, side):
    """A random crop of an area share in [smallest, 1] and aspect in [3/4, 4/3], resized
    bilinearly to side x side, mirrored half of the time. One grid_sample does all of it."""
    n = len(images)
    area = uniform(n, smallest, 1, generator)
    aspect = torch.exp(uniform(n, math.log(3 / 4), math.log(4 / 3), generator))
    wide, high = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    across = uniform(n, -1, 1, generator) * (1 - wide)
    down = uniform(n, -1, 1, generator) * (1 - high)
    mirror = torch.where(uniform(n, 0, 1, generator) < 0.5, -1.0, 1.0)
    zero = torch.zeros_like(wide)
    theta = torch.stack([wide * mirror, zero, across, zero, high, down], dim=1).view(n, 2, 3)
    grid = F.affine_grid(theta, [n, images.shape[1], side, side], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def jitter_colours(images, generator, strength):
    """Brightness, contrast, saturation (each by a factor of 1 +- 0.8 s) and hue (+- 0.2 s of a
    turn) for 80 % of the images, grey for 20 %, in that fixed order. Of grey images brightness and contrast alone.

    All five are affine in the colours, so each image gets one 3x3 matrix and one offset.
    """
    if images.shape[1] == 1:
        return jitter_brightness(images, generator, strength)
    n, device = len(images), images.device
    luma = torch.tensor(LUMA, device=device)
    eye, grey = torch.eye(3, device=device), luma.expand(3, 3)
    spread = 0.8 * strength
    brightness, contrast, saturation = (
        uniform(n, max(0.0, 1 - spread), 1 + spread, generator).view(n, 1, 1) for _ in range(3)
    )
    matrix = saturation * eye + (1 - saturation) * grey
    matrix = rotate_hue(uniform(n, -0.2, 0.2, generator) * strength, eye) @ matrix
    jittered = (uniform(n, 0, 1, generator) < 0.8).view(n, 1, 1)
    matrix = torch.where(jittered, brightness * contrast * matrix, eye)
    level = (images.mean((2, 3)) @ luma).view(n, 1, 1)
    offset = torch.where(jittered, (1 - contrast) * brightness * level, torch.zeros_like(level))
    to_grey = (uniform(n, 0, 1, generator) < 0.2).view(n, 1, 1)
    matrix = torch.where(to_grey, grey @ matrix, matrix)
    return (torch.bmm(matrix, images.flatten(2)) + offset).clamp(0, 1).view_as(images)


def jitter_brightness(images, generator, strength):
    """Brightness and contrast of grey images, each by a factor of 1 +- 0.8 s, for 80 % of them."""
    n, spread = len(images), 0.8 * strength
    brightness, contrast = (
        uniform(n, max(0.0, 1 - spread), 1 + spread, generator).view(n, 1, 1, 1) for _ in range(2)
    )
    level = images.mean((1, 2, 3), keepdim=True)
    changed = ((images - level) * contrast + level) * brightness
    chosen = (uniform(n, 0, 1, generator) < 0.8).view(n, 1, 1, 1)
    return torch.where(chosen, changed, images).clamp(0, 1)


def rotate_hue(turns, eye):
    """Rotation of colour space about the grey axis, [n, 3, 3] (Rodrigues' formula)."""
    angle = (2 * math.pi * turns).view(-1, 1, 1)
    axis = torch.full((3,), 1 / math.sqrt(3), device=eye.device)
    cross = torch.linalg.cross(eye, axis.expand(3, 3))
    return angle.cos() * eye + angle.sin() * cross + (1 - angle.cos()) * torch.outer(axis, axis)


def add_noise(images, generator, highest):
    """Gaussian noise of sigma uniform in 0..highest for each image, then cut to 0..1 and rounded
    to 256 levels: what arrives at a server is an image, not a tensor."""
    sigma = uniform(len(images), 0, highest, generator).view(-1, 1, 1, 1)
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return ((images + sigma * noise).clamp(0, 1) * 255).round() / 255


def hide_patches(images, generator, images_share, patches_share, patch):
    """Paints patches of that many pixels a side grey: each with a chance of `patches_share`, in a
    `images_share` of the images."""
    n, _, high, wide = images.shape
    chosen = uniform(n, 0, 1, generator) < images_share
    grid = torch.rand(n, 1, high // patch, wide // patch, generator=generator, device=images.device)
    hidden = ((grid < patches_share) & chosen.view(-1, 1, 1, 1)).float()
    hidden = F.interpolate(hidden, scale_factor=patch, mode="nearest")
    return torch.where(hidden > 0.5, 0.5, images)


def zoom_and_flip(images, generator, most, side):
    """A square part of each image, `side` pixels a side after a zoom of each axis in [1, `most`], at any place, mirrored half
    of the time across and down."""
    n = len(images)
    wide, high = (side / length / uniform(n, 1, most, generator) for length in (images.shape[3], images.shape[2]))
    across, down = (uniform(n, -1, 1, generator) * (1 - size) for size in (wide, high))
    mirror, turn = (torch.where(uniform(n, 0, 1, generator) < 0.5, -1.0, 1.0) for _ in range(2))
    zero = torch.zeros_like(wide)
    theta = torch.stack([wide * mirror, zero, across, zero, high * turn, down], dim=1).view(n, 2, 3)
    grid = F.affine_grid(theta, [n, images.shape[1], side, side], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def relight(images, generator, strength):
    """Another exposure and another light of each image: a gain of e^(±s), a gamma of e^(±0.6 s), and a smooth field of light
    about the image whose deviation is 0.3 s."""
    n = len(images)
    gain, gamma = (torch.exp(uniform(n, -s, s, generator)).view(n, 1, 1, 1) for s in (strength, 0.6 * strength))
    field = torch.randn(n, 1, 3, 3, generator=generator, device=images.device) * 0.3 * strength
    field = F.interpolate(field, images.shape[2:], mode="bicubic", align_corners=False)
    return (images.clamp(min=1e-4) ** gamma * gain * (1 + field).clamp(min=0.2)).clamp(0, 1)
