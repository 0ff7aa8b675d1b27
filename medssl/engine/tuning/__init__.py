"""How pretrained weights are fine-tuned: each kind says which parts of the network learn when, and how fast.

A kind has `build(*, groups, steps, optimizer_warmup, ...) -> list[Phase]`; of these three it names what it needs, and
the rest of its signature is what a recipe may set: `groups` are the names of the parameter groups (see
`medssl.engine.phases`), `steps` those of the run, `optimizer_warmup` the steps of the optimizer's warm-up.
"""
