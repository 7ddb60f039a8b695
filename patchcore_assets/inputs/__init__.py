"""The observed inputs: their versions, their recording, and the sensor on them."""
