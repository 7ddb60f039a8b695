"""PatchCore on arrays and tables: everything that computes, usable without Dagster.

A folder is a room. The order of the rooms is that of the method: `config` and `dataset` say what is
there, `backbones` and `embedding` make patch embeddings, `coreset` the memory bank, `scoring`
searches it, `metrics` and `report` judge and show. `stages` has one module for each asset, from
files to files, and `checks` looks at what a stage has made. All of them stand on `runtime`.
"""
