"""Networks of the Distill article's table and of torchvision, written in the language."""

from __future__ import annotations


def conv(kernel: str, more: str = "same", channels: int = 4) -> str:
    return f"CONV[{channels}, {kernel}, {more}] - RELU"


def chain(*parts: str) -> str:
    return " - ".join(parts)


def concat(*branches: str) -> str:
    return f"CONCAT({' | '.join(branches)})"


def alexnet_v2() -> str:
    five = [conv("5x5"), "POOL[3x3, stride=2]", conv("3x3"), conv("3x3"), conv("3x3"), "POOL[3x3, stride=2]"]
    return chain(conv("11x11", "stride=4, padding=0"), "POOL[3x3, stride=2]", *five)


def vgg_16() -> str:
    return chain(*(f"({conv('3x3')})*{count} - POOL" for count in (2, 2, 3, 3, 3)))


def mobilenet_v1() -> str:
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
    pairs = (chain(conv("3x3", f"stride={s}, padding=same, groups=4"), conv("1x1")) for s in strides)
    return chain(conv("3x3", "stride=2, padding=same"), *pairs)


def slim_resnet(counts: tuple[int, ...]) -> str:
    """Bottlenecks with the stride in the last unit of a block; padding of strided layers does not look at the size."""
    parts = [conv("7x7", "stride=2, padding=3"), "POOL[3x3, stride=2, padding=same]"]
    for number, count in enumerate(counts):
        for unit in range(count):
            last = unit == count - 1 and number < 3
            middle = conv("3x3", "stride=2, padding=1") if last else conv("3x3")
            parts.append(
                f"SUM({chain(conv('1x1'), middle, conv('1x1'))} | {'POOL[1x1, stride=2]' if last else 'IDENTITY'})"
            )
    return chain(*parts)


def torchvision_resnet(counts: tuple[int, ...], bottleneck: bool) -> str:
    parts = [conv("7x7", "stride=2, padding=3"), "POOL[3x3, stride=2, padding=1]"]
    for number, count in enumerate(counts):
        for unit in range(count):
            strided = unit == 0 and number > 0
            first = conv("3x3", "stride=2, padding=1") if strided else conv("3x3")
            body = chain(conv("1x1"), first, conv("1x1")) if bottleneck else chain(first, conv("3x3"))
            parts.append(f"SUM({body} | {conv('1x1', 'stride=2, padding=0') if strided else 'IDENTITY'})")
    return chain(*parts)


def inception_v3() -> str:
    def valid(kernel: str, stride: int = 1) -> str:
        return conv(kernel, f"stride={stride}, padding=0")

    pooled = chain("POOL[3x3, mean, stride=1, padding=1]", conv("1x1"))
    stem = [
        valid("3x3", 2),
        valid("3x3"),
        conv("3x3"),
        "POOL[3x3, stride=2]",
        valid("1x1"),
        valid("3x3"),
        "POOL[3x3, stride=2]",
    ]
    five = concat(conv("1x1"), chain(conv("1x1"), conv("5x5")), chain(conv("1x1"), conv("3x3"), conv("3x3")), pooled)
    six_a = concat(valid("3x3", 2), chain(conv("1x1"), conv("3x3"), valid("3x3", 2)), "POOL[3x3, stride=2]")
    long = chain(conv("1x1"), conv("7x1"), conv("1x7"), conv("7x1"), conv("1x7"))
    six = concat(conv("1x1"), chain(conv("1x1"), conv("1x7"), conv("7x1")), long, pooled)
    seven_a = concat(
        chain(conv("1x1"), valid("3x3", 2)),
        chain(conv("1x1"), conv("1x7"), conv("7x1"), valid("3x3", 2)),
        "POOL[3x3, stride=2]",
    )
    split = concat(conv("1x3"), conv("3x1"))
    seven = concat(conv("1x1"), chain(conv("1x1"), split), chain(conv("1x1"), conv("3x3"), split), pooled)
    return chain(*stem, f"({five})*3", six_a, f"({six})*4", seven_a, f"({seven})*2")


# field, stride, padding: Araujo, Norris, Sim 2019, the article's table; torchvision's from its definitions
FIELDS = {
    "alexnet_v2": (alexnet_v2(), 195, 32, 64),
    "vgg_16": (vgg_16(), 212, 32, 90),
    "mobilenet_v1": (mobilenet_v1(), 315, 32, 126),
    "resnet_v1_50": (slim_resnet((3, 4, 6, 3)), 483, 32, 239),
    "resnet_v1_101": (slim_resnet((3, 4, 23, 3)), 1027, 32, 511),
    "inception_v3": (inception_v3(), 1311, 32, 618),
    "resnet18": (torchvision_resnet((2, 2, 2, 2), False), 435, 32, 217),
    "resnet34": (torchvision_resnet((3, 4, 6, 3), False), 899, 32, 449),
    "resnet50": (torchvision_resnet((3, 4, 6, 3), True), 427, 32, 213),
    "resnet101": (torchvision_resnet((3, 4, 23, 3), True), 971, 32, 485),
}
