"""Networks: encoders, decoders, heads, discriminator, and the loading of weights."""
