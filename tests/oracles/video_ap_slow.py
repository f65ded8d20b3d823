"""Video AP as COCO's evaluation does it, one step at a time: lists, loops, no shortcuts."""

import numpy as np


def match(scores, iou, threshold, most):
    """(score, hit) of every proposal of one video, from the highest score down."""
    order = sorted(range(len(scores)), key=lambda d: -scores[d])[:most]
    taken, found = set(), []
    for d in order:
        best, best_iou = None, min(threshold, 1 - 1e-10)
        for g in range(iou.shape[1]):
            if g not in taken and iou[d, g] >= best_iou:
                best, best_iou = g, iou[d, g]
        if best is not None:
            taken.add(best)
        found.append((scores[d], best is not None))
    return found


def average_precision(videos):
    """AP50, AP, AR10 of [(scores, iou [P, O])]."""
    objects = sum(iou.shape[1] for _, iou in videos)
    precisions, recalls = [], []
    for threshold in np.linspace(0.5, 0.95, 10):
        found = [x for scores, iou in videos for x in match(scores, iou, threshold, 100)]
        found = sorted(found, key=lambda x: -x[0])
        points, true = [], 0
        for n, (_, hit) in enumerate(found, 1):
            true += hit
            points.append((true / objects, true / n))
        total = 0.0
        for r in np.linspace(0, 1, 101):
            total += max([p for recall, p in points if recall >= r], default=0.0)
        precisions.append(total / 101)
        few = [x for scores, iou in videos for x in match(scores, iou, threshold, 10)]
        recalls.append(sum(hit for _, hit in few) / objects)
    return precisions[0], np.mean(precisions), np.mean(recalls)
