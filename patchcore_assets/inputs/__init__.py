"""The observed inputs: their versions, how these become known, and the sensor that watches them."""
