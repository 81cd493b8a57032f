"""Makes the small data sets of this folder, in the layouts of the published ones.

    python tests/testdata/make_testdata.py [--photographs=FOLDER]

Outlines and sentences are in drawn.json; they were drawn and written for this project.
The expected numbers are measured with pycocotools and SciPy, by no code of the packages
under test. Photographs are only made again from the originals in
FOLDER; README.md says where to get them.
"""

import argparse
import gzip
import io
import json
import math
import pathlib
import pickle
import re

import numpy as np
import scipy.io
from PIL import Image, ImageDraw
from pycocotools import mask as mask_util

FOLDER = pathlib.Path(__file__).parent
DRAWN = json.loads((FOLDER / "drawn.json").read_text())

# Width and height of each photograph, by its name without .jpg.
SIZES = {pathlib.Path(p["place"]).stem: p["size"] for p in DRAWN["photographs"]}

# As in GloVe's files, punctuation is a word.
WORDS = (
    "the , of to and in a ( for that on is 's with by at from cat dog chair bed couch "
    "person rocket"
)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def make_photographs(folder, originals):
    for photo in DRAWN["photographs"]:
        with Image.open(originals / photo["original"]) as image:
            rgb = image.convert("RGB")
        small = rgb.resize(photo["size"], Image.Resampling.LANCZOS, photo["box"])
        file = io.BytesIO()
        small.save(file, format="jpeg", quality=85)
        write(folder / photo["place"], file.getvalue())


def entry_of(fields, sentences, first_sent_id, clean=str):
    """Returns an entry of refs(*).p; every entry has all fields of the real files."""
    sent_ids = list(range(first_sent_id, first_sent_id + len(sentences)))
    said = [
        {"tokens": clean(s).split(), "raw": s, "sent_id": i, "sent": clean(s)}
        for i, s in zip(sent_ids, sentences, strict=True)
    ]
    return {"sent_ids": sent_ids} | fields | {"sentences": said}


def measured(mask, ref_id, object_id, image_id, sentences):
    """Returns the expected numbers of a mask [H, W]: 0 is outside the object."""
    rows, columns = np.nonzero(mask)
    corner = int(columns.min()), int(rows.min())
    return {
        "ref_id": str(ref_id),
        "object_id": str(object_id),
        "image_id": str(image_id),
        "area_px": len(rows),
        "bbox_xywh": [*corner, int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1],
        "expressions": sentences,
    }


def summary(objects):
    return {
        "images": len({o["image_id"] for o in objects}),
        "refs": len(objects),
        "expressions": sum(len(o["expressions"]) for o in objects),
        "objects": objects,
    }


# The layout of the `refer` distribution, with polygons.


def instances_of(annotations, description):
    """Returns instances.json: area and bbox are those of the polygons, as in COCO."""
    entries = []
    for annotation in annotations:
        parts = [np.reshape(p, (-1, 2)) for p in annotation["segmentation"]]
        turned = [np.roll(part, 1, axis=0) for part in parts]
        area = sum(
            abs(np.sum(p[:, 0] * t[:, 1] - p[:, 1] * t[:, 0])) / 2
            for p, t in zip(parts, turned, strict=True)
        )
        low, high = np.concatenate(parts).min(0), np.concatenate(parts).max(0)
        segmentation = [[float(v) for v in p] for p in annotation["segmentation"]]
        bbox = [float(v) for v in (*low, *(high - low))]
        kept = {k: annotation[k] for k in ("image_id", "category_id", "id")}
        head = {"segmentation": segmentation, "area": float(area), "iscrowd": 0}
        entries.append(head | kept | {"bbox": bbox})
    images, used = [], {annotation["category_id"] for annotation in annotations}
    for image_id in sorted({annotation["image_id"] for annotation in annotations}):
        name = f"COCO_train2014_{image_id:012}"
        width, height = SIZES[name]
        image = {"license": 0, "file_name": f"{name}.jpg", "coco_url": ""}
        image |= {"height": height, "width": width, "date_captured": ""}
        images.append(image | {"flickr_url": "", "id": image_id})
    return {
        "info": {"description": description},
        "images": images,
        "licenses": [{"id": 0, "name": "unknown", "url": ""}],
        "annotations": entries,
        "categories": [c for c in DRAWN["categories"] if c["id"] in used],
    }


def make_refer(folder):
    drawn = {annotation["id"]: annotation for annotation in DRAWN["annotations"]}
    expected = {}
    for name, refs_file, data_set, sent_id in (
        ("refcocog", "refs(google).p", "gref/google", 301),
        ("refcoco", "refs(unc).p", "unc", 9900001),
        ("refcoco+", "refs(unc).p", "unc_plus", 9910001),
    ):
        # As in the published files, there are annotations without a ref.
        others = [drawn[99000002]] if name == "refcoco+" else []
        referred, entries, splits = [], [], {}
        for number, ref in enumerate(DRAWN[name]):
            annotation, said = drawn[ref["ann_id"]], ref["sentences"]
            referred.append(annotation)
            image_id = annotation["image_id"]
            suffix = annotation["id"] if name == "refcocog" else number
            file_name = f"COCO_train2014_{image_id:012}_{suffix}.jpg"
            fields = {"file_name": file_name, "ann_id": ref["ann_id"]}
            fields |= {"ref_id": ref["ref_id"], "image_id": image_id}
            fields |= {"split": ref["split"], "category_id": annotation["category_id"]}
            entries.append(entry_of(fields, said, sent_id))
            sent_id += len(said)
            width, height = SIZES[f"COCO_train2014_{image_id:012}"]
            parts = mask_util.frPyObjects(annotation["segmentation"], height, width)
            mask = mask_util.decode(parts).any(-1)
            found = measured(mask, ref["ref_id"], ref["ann_id"], image_id, said)
            splits.setdefault(ref["split"], []).append(found)
        place = folder / "refer" / name
        about = "Made for tests, in the layout of the RefCOCO family; not MS COCO"
        instances = instances_of(referred + others, about)
        write(place / "instances.json", json.dumps(instances))
        write(place / refs_file, pickle.dumps(entries, protocol=2))
        expected[data_set] = {s: summary(objects) for s, objects in splits.items()}
    write(folder / "expected_refer.json", json.dumps(expected, indent=1) + "\n")


# The two layouts of ReferIt.


def draw(outlines, size):
    image = Image.new("1", size)
    for outline in outlines:
        ImageDraw.Draw(image).polygon(outline, fill=1)
    return np.asarray(image)


def write_mat(path, mask):
    """Writes a mask: 0 is the object; one file has another background than the rest."""
    if path.stem == "91001_2":
        content = np.where(mask, 0, 1).astype(np.uint8)
    else:
        content = np.where(mask, 0, -1).astype(np.int16)
    file = io.BytesIO()
    scipy.io.savemat(file, {"segimg_t": content}, do_compression=True)
    # The header has the time of writing.
    write(path, b"MATLAB 5.0 MAT-file".ljust(116) + file.getvalue()[116:])


def make_text_objseg(folder):
    place, expected = folder / "referit/referit", {}
    like_published = {"separators": (",\n", ":\n")}
    parts = {s: [s] for s in ("train", "val", "test")} | {"trainval": ["train", "val"]}
    for split, joined in parts.items():
        regions = [r for s in joined for r in DRAWN["regions"] if r["split"] == s]
        said = {r["region"]: r["sentences"] for r in regions}
        query = json.dumps(said, **like_published)
        write(place / f"referit_query_{split}.json", query)
        images = sorted({name.split("_")[0] for name in said})
        listed = "".join(f"{image}\n" for image in images)
        write(place / f"referit_{split}_imlist.txt", listed)
        objects = []
        for name in said:
            mask = scipy.io.loadmat(place / f"mask/{name}.mat")["segimg_t"] == 0
            objects.append(measured(mask, name, name, name.split("_")[0], said[name]))
        expected[split] = summary(objects)
    sizes = {f"{name}.jpg": SIZES[name] for name in ("91001", "92002")}
    write(place / "referit_imsize.json", json.dumps(sizes, **like_published))
    return expected


def clean(sentence):
    """Returns a `raw` sentence as the `refer` distribution has it in `sent`."""
    return " ".join(re.sub(r"[^a-z0-9 ]", "", sentence.lower()).split())


def make_refclef(folder):
    annotations = []
    for region in DRAWN["regions"]:
        name = region["region"]
        mask = draw(region["outlines"], SIZES[name.split("_")[0]])
        write_mat(folder / f"referit/referit/mask/{name}.mat", mask)
        rle = mask_util.encode(np.asfortranarray(mask, np.uint8))
        annotation = {
            "segmentation": [rle | {"counts": rle["counts"].decode()}],
            "area": int(mask.sum()),
            "image_id": int(name.split("_")[0]),
            "bbox": measured(mask, "", "", "", [])["bbox_xywh"],
            "category_id": region["category_id"],
        }
        annotations.append(annotation | {"id": name, "iscrowd": 0})
    images = [
        {"id": image_id, "file_name": f"{str(image_id)[:2]}/images/{image_id}.jpg"}
        | {"height": SIZES[str(image_id)][1], "width": SIZES[str(image_id)][0]}
        for image_id in (91001, 92002)
    ]
    about = "Made for tests, in the layout of RefCLEF; not SAIAPR TC-12"
    instances = {"info": {"description": about}, "images": images}
    instances |= {"annotations": annotations, "categories": DRAWN["region_categories"]}
    write(folder / "referit/refclef/instances.json", json.dumps(instances))
    expected = {}
    for form, key in (("berkeley", "split"), ("unc", "unc_split")):
        entries, splits, sent_id = [], {}, 9920001
        pairs = zip(DRAWN["regions"], annotations, strict=True)
        for ref_id, (region, annotation) in enumerate(pairs, start=993001):
            fields = {"ann_id": region["region"], "ref_id": ref_id}
            fields |= {k: annotation[k] for k in ("image_id", "category_id")}
            fields |= {"split": region[key]}
            entries.append(entry_of(fields, region["sentences"], sent_id, clean))
            sent_id += len(region["sentences"])
            mask = mask_util.decode(annotation["segmentation"]).any(-1)
            said = [s["sent"] for s in entries[-1]["sentences"]]
            ids = ref_id, region["region"], annotation["image_id"]
            # A ref of testBC belongs to testB and to testC.
            split = region[key]
            for part in ("testB", "testC") if split == "testBC" else (split,):
                splits.setdefault(part, []).append(measured(mask, *ids, said))
        path = folder / f"referit/refclef/refs({form}).p"
        write(path, pickle.dumps(entries, protocol=2))
        expected[form] = {s: summary(objects) for s, objects in splits.items()}
    return expected


def make_referit(folder):
    expected = make_refclef(folder)  # It draws the masks.
    expected["text_objseg"] = make_text_objseg(folder)
    write(folder / "expected_referit.json", json.dumps(expected, indent=1) + "\n")


# The mask file of custom/, whose other files were written by hand, and word vectors.


def make_custom(folder):
    lines = (folder / "custom/train.jsonl").read_text().splitlines()
    cup = json.loads(lines[0])["mask"]
    saucer = draw([DRAWN["custom_saucer"]], SIZES["coffee"])
    visible = saucer & ~draw(cup, SIZES["coffee"])
    file = io.BytesIO()
    Image.fromarray(visible.astype(np.uint8) * 255).save(file, format="png")
    write(folder / "custom/masks/saucer.png", file.getvalue())


def make_vectors(folder):
    """Writes vectors in GloVe's format; their values mean nothing."""
    lines = []
    for n, word in enumerate(WORDS.split()):
        values = (math.sin((300 * n + i + 1) ** 2) / 2 for i in range(300))
        lines.append(" ".join([word, *(f"{value:.5g}" for value in values)]) + "\n")
    content = gzip.compress("".join(lines).encode(), mtime=0)
    write(folder / "vectors.300d.txt.gz", content)


def make(folder):
    make_refer(folder)
    make_referit(folder)
    make_custom(folder)
    make_vectors(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.photographs:
        make_photographs(FOLDER, arguments.photographs)
    make(FOLDER)


if __name__ == "__main__":
    main()
