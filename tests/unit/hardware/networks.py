"""The networks and machines that tests of ``hardware`` stand on."""

from dataclasses import replace

from hardware import presets
from hardware.machine import Array, Dataflow, Machine
from hardware.network.layer import LayerSpec, Part
from hardware.network.workload import StepSpec, Workload

# No fill, memory that never stalls (almost), no normalisation: what remains is the array.
BARE = (
    "array.fill_cycles=0",
    "memory.dram_bandwidth=1e18",
    "memory.sram_bytes_per_cycle=1e18",
    "memory.metadata_bytes_per_cycle=1e18",
    "memory.charges_batch_norm=false",
    "memory.overlaps_layers=true",
)
ELEMENTS = 'skipping={kind="element",barrier_tiles=64,sync_cycles=0,work_stealing_percent=0}'
ALIGNED = 'skipping={kind="block",rows=32,columns=32,compacts=false,pads=false}'
TRANSPOSABLE = 'skipping={kind="n_of_m",n=2,m=4,falls_back_by_lane=false,is_transposable=true}'
PLAIN = 'skipping={kind="nothing"}'
BITMAP = 'format={kind="bitmap"}'


def bare(*changes: str) -> Machine:
    """Return a 32 x 32 core without memory effects, changed."""
    return presets.machine("chip28nm", (*BARE, BITMAP, *changes))


def conv(
    name: str, inputs: int, size: int, outputs: int, kernel: int, stride: int, padding: int, reads: str | None = None
) -> LayerSpec:
    """Return a square convolution of the encoder."""
    return LayerSpec(
        name=name,
        part=Part.ENCODER,
        in_channels=inputs,
        in_height=size,
        in_width=size,
        out_channels=outputs,
        kernel_height=kernel,
        kernel_width=kernel,
        stride=stride,
        padding=padding,
        groups=1,
        is_first=False,
        has_batch_norm=True,
        reads=reads,
    )


def resnet18(padding: int = 1) -> tuple[LayerSpec, ...]:
    """Return the CIFAR ResNet-18; the solo-learn stem has padding 2."""
    layers = [replace(conv("conv1", 3, 32, 64, 3, 1, padding), is_first=True)]
    size, channels = layers[0].out_height, 64
    for stage, outputs in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            stride = 2 if stage > 1 and block == 0 else 1
            first = conv(f"layer{stage}.{block}.conv1", channels, size, outputs, 3, stride, 1)
            layers.append(first)
            if stride == 2:
                layers.append(conv(f"layer{stage}.{block}.downsample.0", channels, size, outputs, 1, 2, 0))
            size, channels = first.out_height, outputs
            layers.append(conv(f"layer{stage}.{block}.conv2", outputs, size, outputs, 3, 1, 1, reads=first.name))
    head = replace(conv("fc", 512, 1, 10, 1, 1, 0), part=Part.PROJECTOR, has_batch_norm=False)
    return (*layers, head)


SIMCLR = StepSpec(
    batch=1,
    online_passes=2,
    twin_passes=0,
    target_passes=0,
    predictor_passes=0,
    target_is_ema=False,
    optimizer_states=1,
    mask_update_period_steps=0,
    regrowth_needs_dense_gradient=False,
    weight_gradient_is_dense=False,
    loss_macs=0,
)
BYOL = replace(SIMCLR, target_passes=2, target_is_ema=True)


def network(step: StepSpec = SIMCLR, padding: int = 1) -> Workload:
    """Return ResNet-18 with a training step."""
    return Workload(name="resnet18-cifar", layers=resnet18(padding), step=step)


def replace_array(array: Array, dataflow: Dataflow, rows: int, columns: int) -> Array:
    """Return an array of another size and dataflow."""
    return replace(array, dataflow=dataflow, rows=rows, columns=columns)
