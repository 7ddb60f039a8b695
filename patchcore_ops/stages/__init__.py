"""The stages of the benchmark, one module an asset: from the folders of earlier stages to files.

Parameters mean the same in every stage: `folder` receives the files; `dataset_root` is where the
manifest's paths begin; `hash_of` gives a file's SHA-256, by which changed files are refused;
`on_progress` is called with (done, total).
"""
