"""The Gref data set (RefCOCOg) with masks, one record per image."""

import os

import tensorflow_datasets as tfds

from tfds_builders import records, refer_annotations

_DESCRIPTION = """
Gref (Google RefExp, RefCOCOg) in the google partition that ReSTR is trained and scored
on: long expressions for objects of MS COCO train2014 images, with COCO's masks. The
partition was drawn by object, so train and val share images.
"""

_CITATION = """
@inproceedings{mao2016generation,
  title={Generation and Comprehension of Unambiguous Object Descriptions},
  author={Mao, Junhua and Huang, Jonathan and Toshev, Alexander and Camburu, Oana and
          Yuille, Alan and Murphy, Kevin},
  booktitle={CVPR},
  year={2016}
}
"""


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds `gref` from a manual directory; README.md says what to put there."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Needs refcocog/refs(google).p, refcocog/instances.json and
    images/mscoco/images/train2014/; see tfds_builders/gref/README.md.
    """
    FOLDER = "refcocog"
    PARTITION = "google"
    SPLITS = ("train", "val")
    IMAGES = os.path.join("images", "mscoco", "images", "train2014")

    def _info(self) -> tfds.core.DatasetInfo:
        return records.dataset_info(
            self,
            _DESCRIPTION,
            homepage="https://github.com/mjhucla/Google_Refexp_toolbox",
            citation=_CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        root = os.fspath(dl_manager.manual_dir)
        folder = os.path.join(root, self.FOLDER)
        refs = refer_annotations.read_refs(
            os.path.join(folder, f"refs({self.PARTITION}).p")
        )
        instances = refer_annotations.read_instances(
            os.path.join(folder, "instances.json")
        )
        found = {ref["split"] for ref in refs}
        if found != set(self.SPLITS):
            raise ValueError(
                f"refs({self.PARTITION}).p has the splits {sorted(found)}, expected "
                f"{sorted(self.SPLITS)}; it is another partition's file."
            )
        paths = refer_annotations.find_image_files(
            instances,
            {ref["image_id"] for ref in refs},
            os.path.join(root, self.IMAGES),
        )
        return {
            split: self._generate_examples(split, refs, instances, paths)
            for split in self.SPLITS
        }

    def _generate_examples(self, split, refs, instances, paths):
        chosen = [ref for ref in refs if ref["split"] == split]
        made = refer_annotations.make_records(chosen, instances, paths)
        return records.numbered(self, split, made)
