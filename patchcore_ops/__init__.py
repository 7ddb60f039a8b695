"""PatchCore on arrays and tables: everything that computes, usable without Dagster.

The modules, in the order of the data: `config`, `images` and `manifest`, `backbones`, `embedding`,
`coreset`, `neighbours`, `scoring`, `metrics`, `figures` and `report`. Nothing is imported here, so
that reading a configuration does not load torch.
"""
