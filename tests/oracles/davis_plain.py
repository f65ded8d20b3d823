"""The measures of DAVIS as the official toolkit writes them: pair by pair, frame by frame."""

import math

import numpy as np
from scipy.optimize import linear_sum_assignment
from skimage.morphology import disk


def jaccard(truth, mask, void):
    truth, mask = truth & ~void, mask & ~void
    union = (truth | mask).sum()
    return 1.0 if union == 0 else (truth & mask).sum() / union


def outline(mask):
    h, w = mask.shape
    out = np.zeros((h, w), bool)
    for y in range(h):
        for x in range(w):
            y1, x1 = min(y + 1, h - 1), min(x + 1, w - 1)
            differs = [mask[y, x] != mask[b] for b in ((y, x1), (y1, x), (y1, x1))]
            if (y, x) == (h - 1, w - 1):
                out[y, x] = False
            elif y == h - 1:
                out[y, x] = differs[0]
            elif x == w - 1:
                out[y, x] = differs[1]
            else:
                out[y, x] = any(differs)
    return out


def dilated(picture, radius):
    out = np.zeros_like(picture)
    h, w = picture.shape
    kernel = disk(radius)
    for y, x in zip(*np.nonzero(picture), strict=True):
        for dy, dx in zip(*np.nonzero(kernel), strict=True):
            a, b = y + dy - radius, x + dx - radius
            if 0 <= a < h and 0 <= b < w:
                out[a, b] = True
    return out


def boundary_f(truth, mask, void):
    radius = math.ceil(0.008 * np.linalg.norm(truth.shape))
    mine, theirs = outline(mask & ~void), outline(truth & ~void)
    n_mine, n_theirs = mine.sum(), theirs.sum()
    if n_mine == 0 and n_theirs > 0:
        precision, recall = 1, 0
    elif n_mine > 0 and n_theirs == 0:
        precision, recall = 0, 1
    elif n_mine == 0 and n_theirs == 0:
        precision, recall = 1, 1
    else:
        precision = (mine & dilated(theirs, radius)).sum() / n_mine
        recall = (theirs & dilated(mine, radius)).sum() / n_theirs
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def every_pair(labels, truth, objects):
    """J and F [P, O, T] of every proposal with every object, empty proposals added."""
    void = truth == 255
    objects = [truth == i for i in objects]
    proposals = [labels == i for i in np.unique(labels) if i]
    while len(proposals) < len(objects):
        proposals.append(np.zeros(labels.shape, bool))
    j, f = np.zeros((2, len(proposals), len(objects), len(labels)))
    for a, proposal in enumerate(proposals):
        for b, obj in enumerate(objects):
            for k in range(len(labels)):
                j[a, b, k] = jaccard(obj[k], proposal[k], void[k])
                f[a, b, k] = boundary_f(obj[k], proposal[k], void[k])
    return j, f


def unsupervised(labels, truth):
    """J and F [T, O] of the standard protocol."""
    j, f = every_pair(labels, truth, [i for i in np.unique(truth) if i not in (0, 255)])
    rows, columns = linear_sum_assignment(-(j.mean(2) + f.mean(2)) / 2)
    order = np.argsort(columns)
    return j[rows[order], columns[order]].T, f[rows[order], columns[order]].T


def released(labels, truth):
    """J and F [T, O] as the released evaluation of "Betrayed by Attention" makes them."""
    labels = np.concatenate((labels[:-1], labels[-2:-1]))  # there are masks for all but the last
    highest = int(np.where(truth[0] == 255, 0, truth[0]).max())
    j, f = every_pair(labels, truth, range(1, highest + 1))
    best_j, best_f = [], []
    for k in range(len(labels)):
        rows, columns = linear_sum_assignment(-(j[..., k] + f[..., k]))
        order = np.argsort(columns)
        best_j.append(j[rows[order], columns[order], k])
        best_f.append(f[rows[order], columns[order], k])
    return np.stack(best_j), np.stack(best_f)
