"""Video AP by COCO's own evaluation, of which YouTube-VIS has a copy; only IoUs are given."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def average_precision(videos):
    """AP50, AP, AR10 of [(scores [P], iou [P, O])]."""
    truth, found = [], []
    about = {"category_id": 1, "area": 1000, "bbox": [0, 0, 10, 100], "iscrowd": 0}
    for number, (scores, iou) in enumerate(videos, 1):
        for _ in range(iou.shape[1]):
            truth.append({"id": len(truth) + 1, "image_id": number, **about})
        for score in scores:
            found.append({"id": len(found) + 1, "image_id": number, "score": score, **about})

    class Given(COCOeval):
        def computeIoU(self, number, category):
            scores, iou = videos[number - 1]
            order = np.argsort(-np.array(scores), kind="mergesort")
            return iou[order[: self.params.maxDets[-1]]] if len(scores) else []

    with contextlib.redirect_stdout(io.StringIO()):
        images = [{"id": i + 1} for i in range(len(videos))]
        run = Given(_index(images, truth), _index(images, found), "bbox")
        run.params.maxDets = [1, 10, 100]
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats[1], run.stats[0], run.stats[7]


def _index(images, annotations):
    records = COCO()
    records.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
    records.createIndex()
    return records
