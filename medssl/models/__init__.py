"""Networks: encoders, decoders, heads and the discriminator; loading weights into them."""
