"""`gref`: Google RefExp on MS COCO images, read from the `refer` distribution."""
