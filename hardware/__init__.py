"""What a mask buys when training: cycles, traffic and energy of one training step on a modelled accelerator.

Needs NumPy, and cattrs to read files. The model is parameterised by us and *inspired by* published chips; it replicates
none of them, because their array sizes, memories and clocks are not public.
"""
