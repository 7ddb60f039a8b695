"""Measurements of this project, and side by side with others; one command a comparison.

Run from the repository's root, in its environment: `python -m benchmarks.<name> --help`.

- `compare_reference`: each stage and the whole against a checkout of the reference implementation
- `compare_anomalib`: embedding, coreset, prediction and memory against anomalib's PatchCore
- `plan_constants`, `backbone_costs`: what the plan of a category is reckoned from
- `coreset_sweep`: time and metrics against the coreset's percentage
- `search_presets`: the certified search and FAISS presets against FAISS's flat scan
- `compare_versions`: the whole benchmark of a configuration by this checkout and by others
- `try_backbones`: networks of many families, and how their layers are laid out
- `bfloat16`: the backbone in bfloat16, its time and its effect on the metrics

Everything that is timed runs in a fresh process with a stated number of threads. Each command but
`backbone_costs` and `lite_weights` writes a table (CSV and Markdown) and a plot into `--out`.
Modules here import nothing heavy at the top, because the peak memory of a process is reported as
no less than that of its parent.
"""
