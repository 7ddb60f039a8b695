"""Every wrong value of a configuration, and words of the sentence that it gets."""

from __future__ import annotations

NO_HOME = "'~' names no home folder"
NOT_SET = "uses ${NO_SUCH}, which is not set"
NUMBER = "write a plain number"
FACTORY = "must be a FAISS factory string"
SIDES = "must be a number of pixels from 8 to 4096, or two of them: [height, width]"
IS_MAPPING = "must be a mapping of keys to values"
FIXED = "cannot be overridden"

# For each key its wrong values, as YAML, and what is said of them, parted by " … ".
BY_KEY = {
    # Keys that do not exist.
    "coreset.percentge": {"0.1": "unknown key; did you mean percentage?"},
    "embedding.members.0.layer": {"[a]": "unknown key … layers"},
    "corset": {"{}": "unknown key; did you mean coreset"},
    "zzz": {"1": "unknown key; there are dataset, embedding"},
    "1": {"{}": "unknown key … there are"},
    # Kinds and limits. Tags never build anything.
    "coreset": {
        "3": f"{IS_MAPPING} (got 3)",
        "[a]": f"{IS_MAPPING} (got ['a'])",
        "!!python/object/apply:os.system ['true']": "line 1 carries the tag … os.sys",
    },
    "coreset.percentage": {
        "yes": "(got True); yes, no, on and off mean",
        "'0.1'": f"(got '0.1'); {NUMBER}",
        "10%": f"(got '10%'); {NUMBER}",
        "0,1": "(got 0)",
        "": "(got None)",
        ".nan": "(got nan)",
        ".inf": "(got inf)",
        "1e400": "(got inf)",
        "1e-2x": "(got '1e-2x')",
        "1.01": "(got 1.01)",
        "ten": "(got 'ten')",
    },
    "coreset.sampler": {"greedy": "(got 'greedy')"},
    "coreset.seed": {
        "!!int '3'": "line 1 carries the tag … write the plain value",
        "1.0": "(got 1.0)",
        "010": f"(got '010'); {NUMBER}",
        "0x10": f"(got '0x10'); {NUMBER}",
        "9" * 30: "input should be less than 9223372036 … 99",
        "9" * 5000: "input should be a valid integer … ...",
        "-1": "(got -1)",
    },
    "scoring.smoothing_sigma": {".nan": "(got nan)", "-.inf": "(got -inf)", "-1.0": "(got -1.0)"},
    "scoring.anomaly_scorer_num_nn": {"9" * 20: "65536", "0": "(got 0)"},
    "metrics.aupro_fpr_limit": {"0": "(got 0"},
    "metrics.mask_threshold": {"1.1": "(got 1.1)"},
    "checks.minimum_test_images": {"9" * 20: "1000000"},
    "runtime.faiss_on_gpu": {"1": "(got 1); write true or false"},
    "runtime.num_workers": {"true": "mean true and false"},
    "runtime.batch_size": {"true": "mean true and false"},
    "runtime.device": {"gpu": "(got 'gpu')", "'cuda:99999999999'": "cuda:9999"},
    "embedding.patchsize": {"2": "must be odd, so that a patch has a … 2"},
    "embedding.target_embed_dimension": {"0": "(got 0)", "1.5": "(got 1.5)"},
    "embedding.precision": {"half": "input should be 'float32' or … half"},
    "embedding.members": {
        "{}": "input should be a valid list (got {})",
        "[]": "list should have at least 1 item",
    },
    "embedding.members.0": {"wide": "must be a mapping of keys … 'wide'"},
    "embedding.members.0.backbone": {"18": "put it in quotes"},
    "embedding.members.0.layers": {
        "layer2": "valid list",
        "[]": "at least 1 item",
        "[a, b, a]": "lists one … a, b",
    },
    "embedding.members.0.layers.0": {"on": "put it in quotes"},
    "embedding.members.0.weights": {"~nobody-has-this-name/x": NO_HOME},
    "embedding.members.1.weights": {"'${NO_SUCH}'": NOT_SET},
    "schedule.timezone": {
        "Mars": "must be a time zone by its IANA name … Mars",
        '"../../etc/passwd"': "must be a time zone",
    },
    "storage.root": {
        "!env X": "line 1 carries the tag '!env' … not read",
        '"a\\nb"': "must not contain the control character U+000A",
        "~nobody-has-this-name/x": NO_HOME,
        "'${NO_SUCH}/x'": f"{NOT_SET} … set it",
    },
    "dataset.layout": {"folders": "(got 'folders')"},
    "dataset.fit": {"squash": "input should be 'crop', 'stretch' or 'pad' … 'squash'"},
    "dataset.resize": {
        "7": f"{SIDES} (got 7)",
        "'256'": f"{SIDES} (got '256')",
        "yes": f"{SIDES} (got True)",
        "[256]": f"{SIDES} (got [256])",
        "[256, 5000]": f"{SIDES} (got [256, 5000])",
        "[256, 256, 3]": f"{SIDES} (got [256, 256, 3])",
    },
    "dataset.imagesize": {
        "300": "imagesize (300) must not exceed resize … 256",
        "big": f"{SIDES}, or auto (got 'big')",
        "[512, 300]": "imagesize ([512, 300]) must not exceed resize (256)",
    },
    "dataset.root": {
        '"a\\0b"': "must not contain the control character U+0000",
        '"\\ud800"': "input should be a valid string, unable to parse",
        "a" * 5000: "string should have at most 4096 … ...",
        "''": "string should have at least 1 character",
        "~nobody-has-this-name/x": NO_HOME,
        "'s3://bucket/mvtec'": "must be a folder on this machine (got",
        "'https://example.org/mvtec'": "must be a folder on this machine (got",
    },
    # FAISS would crash, not fail, on some of these.
    "index.factory": {
        "''": "(got '')",
        "'IVF0,Flat'": f"{FACTORY} … from 1 to",
        "HNSW0": f"{FACTORY} … 'HNSW0'",
        "HNSW1": "HNSW needs at least 2 links; write HNSW32",
        "'IVF4_HNSW1,Flat'": "HNSW needs at least 2 links",
        "PQ4x0": FACTORY,
        "HNSW100000000": f"{FACTORY} … 1048576",
        "Flât": FACTORY,
    },
    "index.search_parameters": {
        "nprobe=0": "nprobe must be at least 1 (got 'nprobe=0')",
        "'nprobe=-3'": "nprobe must be at least 1",
        "'nprobe=4, k_factor_rf=0'": "k_factor_rf must be at least 1",
        "efSearch=0.5": "efSearch must be at least 1",
    },
    "dataset.categories": {
        "all": "must be 'mvtec', 'discover' or a list … all",
        "{a: b}": "must be 'mvtec', 'discover' or a",
        "[]": "names no category; name one",
        "[b, a, b]": "names one category twice: 'b'",
        "[ok, Ok]": "'ok' and 'Ok' differ only in upper and lower case … rename one",
    },
    "dataset.categories.0": {
        "3": "(got 3); put it in quotes",
        "no": "(got False); put it in quotes",
        "''": "string should have at least 1",
        '"a\\nb"': "must not contain the control",
    },
    "tracking": {"{kind: wandb}": "must be a list of trackers, each with a kind (got {'kind'"},
    "tracking.0": {
        "wandb": "must be a mapping of keys … 'wandb'",
        "{kind: tensorboard, online: true}": "tensorboard has no server; leave out",
        "{kind: wandb, uri: 'https://host'}": "only counts with online: true; leave one",
    },
    "tracking.0.kind": {"neptune": "input should be 'mlflow', 'tensorboard' or 'wandb'"},
    "tracking.0.projct": {"x": "unknown key; did you mean project?"},
    "overrides": {"[]": f"{IS_MAPPING} (got [])"},
    "overrides.screws": {"{}": "not one of the configured … did you mean screw"},
    "overrides.screw": {"3": "must be a mapping of sections (got 3)"},
    "overrides.screw.coreset": {"3": "must be a mapping of keys … 3"},
    "overrides.screw.runtime": {"{}": f"{FIXED} … coreset", "{device: cpu}": FIXED},
    "overrides.screw.corset": {"{}": "cannot be … did you mean coreset"},
    "overrides.screw.dataset.root": {
        "x": f"{FIXED} per category; these can: fit, resize, imagesize"
    },
    "overrides.screw.dataset.imagesize": {"300": "imagesize (300) must not exceed"},
    "overrides.screw.coreset.sed": {"1": "unknown key … seed"},
    "overrides.screw.coreset.seed": {"yes": "(got True)"},
    "overrides.screw.coreset.percentage": {"2": "(got 2"},
    "overrides.screw.index.factory": {"'${NO_SUCH}'": NOT_SET},
    "overrides.screw.embedding.members.0.layers": {"[]": "list should have at least 1 item"},
}

# Files whose mistake is not the value of one key.
FILES = [
    ('"a\\nb": {}', r"'a\nb'", "unknown key"),
    ("coreset:\n  seed: 1\n  seed: 2", "coreset.seed", "is given in line 2 and again in line 3"),
    ("index: {}\nindex: {}", "index", "is given in line 1 and again in line 2; keep one"),
    ("overrides:\n  screw: {}\n  screw: {}", "overrides.screw", "in line 2 and again in line 3"),
    ("dataset: {resize: 128}", "dataset.imagesize", "imagesize (224) must not exceed resize … 128"),
    (
        "overrides: {screw: {dataset: {resize: 128}}}",
        "overrides.screw.dataset.imagesize",
        "imagesize (224) must not exceed resize (128)",
    ),
    (
        "dataset: {resize: [300, 256], imagesize: auto}",
        "dataset.imagesize",
        "auto needs one number of at least 32 for resize, the shorter side (got [300, 256])",
    ),
    (
        "tracking: [{kind: mlflow, online: true}]",
        "tracking.0.uri",
        "is needed with online: true; or set MLFLOW_TRACKING_URI",
    ),
    (
        "storage: {root: 's3://bucket/x'}\ntracking: [{kind: wandb}]",
        "tracking.0.folder",
        "is needed, for wandb writes files and storage.root is a URL",
    ),
    *(
        (
            f"tracking: [{{kind: mlflow, online: true, uri: '{uri}'}}]",
            "tracking.0.uri",
            "must be an address such as https://host:5000, without … environment",
        )
        for uri in ("http://ann:s3cr3t@host", "https://t0ken@host/", "https://host/?key=t0ken")
    ),
    ("dataset: {root: x, categories: discover}", "dataset.categories", "discover found no … train"),
]

# Names in YAML that cannot be categories, for they become folders and parts of tables.
CATEGORIES = {
    "'../x'": "a folder's name",
    "'a/b'": "a folder's name",
    "'/etc'": "a folder's name",
    "'.'": "a folder's name",
    "'..'": "a folder's name",
    "'.hidden'": "begins with a letter",
    "'-rf'": "begins with a letter",
    "'a.'": "ends with neither blank",
    "'a,b'": "letters, digits",
    "'a:b'": "letters, digits",
    "'a...b'": "a range of partitions",
    "'Mean'": "the last row",
    "'NA'": "a missing value",
    "'null'": "a missing value",
    "'nan'": "a missing value",
    "'_'": "a meaning of its own",
    "'nul.x'": "a meaning of its own",
    "'a/b', '../c'": "a folder's name",
    # Shown otherwise than they are written.
    r"'a\b'": r"'a\\b' … a folder's name",
    '"a\\u200bb"': r"'a\u200bb' … letters, digits",
    "a" * 101: "'aaaa … 1 to 100",
    "部" * 67: "'部部 … 200 bytes",
}


def nested(key: str, value: str) -> str:
    """Write a file in which one key has a value, such as `a: {b: [{c: value}]}` for `a.b.0.c`."""
    first, *others = key.split(".")
    for part in reversed(others):
        value = f"[{'{}, ' * int(part)}{value}]" if part.isdigit() else f"{{{part}: {value}}}"
    return f"{first}: {value}"


# (text, key, words)
VALUES = [
    *((nested(key, one), key, words) for key, of in BY_KEY.items() for one, words in of.items()),
    *FILES,
    *(
        (
            nested("dataset.categories", f"[ok, {name}]"),
            "dataset.categories",
            f"{words if ' … ' in words else f'{name} … {words}'} … cannot be a category",
        )
        for name, words in CATEGORIES.items()
    ),
]
