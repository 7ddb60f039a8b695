"""Demonstration data in the MVTec AD layout: two rendered categories and one real one.

- `printed_fabric`: a rendered block-printed textile with pixel-exact defect masks.
- `machined_washer`: a rendered machined flange with pixel-exact defect masks.
- `solar_cells_mono`: electroluminescence photographs of solar cells, labelled per image only.

`python -m demo --root data/demo` writes all three, and `demo.tiny.build_tiny_dataset` a miniature
for tests.
"""
