"""How pretrained weights are fine-tuned: each kind says which parts of the network are trained when, and how fast.

A kind has `build(*, groups, steps, optimizer_warmup, ...) -> list[Phase]`; it receives those of
these three that it names, and a recipe sets the other arguments: `groups` are the names of the parameter groups (see
`medssl.engine.phases`), `steps` those of the run, `optimizer_warmup` the steps of the optimizer's warm-up.
"""
