"""The stages of the benchmark for one category, from files to files.

Each stage reads the folders of earlier artefacts and writes the files of its own; who keeps these
folders, and where, is the caller's concern.
"""
