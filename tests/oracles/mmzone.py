"""Zone numbers once more, from the C of mm/page_alloc.c and mm/khugepaged.c, statement by statement.

Zones are dictionaries: node, name, managed, present. Division is C's, on numbers that are never negative.
"""

from __future__ import annotations


def int_sqrt(x: int) -> int:
    """lib/math/int_sqrt.c: bit by bit."""
    y = 0
    m = 1 << ((max(x, 1).bit_length() - 1) & ~1)
    while m:
        b = y + m
        y >>= 1
        if x >= b:
            x -= b
            y += m
        m >>= 2
    return y


def mult_frac(x: int, numerator: int, denominator: int) -> int:
    return (x // denominator) * numerator + ((x % denominator) * numerator) // denominator


def setup_per_zone_wmarks(zones: list[dict], min_free_kbytes: int, scale: int, page_shift: int) -> None:
    pages_min = min_free_kbytes >> (page_shift - 10)
    lowmem_pages = 0
    for zone in zones:
        if zone["name"] != "Movable":
            lowmem_pages += zone["managed"]
    for zone in zones:
        tmp = (pages_min * zone["managed"]) // lowmem_pages
        if zone["name"] == "Movable":
            zone["min"] = sorted((32, zone["managed"] // 1024, 128))[1]
        else:
            zone["min"] = tmp
        tmp = max(tmp >> 2, mult_frac(zone["managed"], scale, 10000))
        zone["low"] = zone["min"] + tmp
        zone["high"] = zone["low"] + tmp
        zone["promo"] = zone["high"] + tmp


def setup_per_zone_lowmem_reserve(zones: list[dict], ratio: list[int]) -> None:
    nodes = {zone["node"] for zone in zones}
    for node in nodes:
        node_zones = [zone for zone in zones if zone["node"] == node]
        for zone in node_zones:
            zone["lowmem_reserve"] = [0] * len(node_zones)
        for i in range(len(node_zones) - 1):
            clear = not ratio[i] or not node_zones[i]["managed"]
            managed_pages = 0
            for j in range(i + 1, len(node_zones)):
                managed_pages += node_zones[j]["managed"]
                node_zones[i]["lowmem_reserve"][j] = 0 if clear else managed_pages // ratio[i]


def calculate_totalreserve_pages(zones: list[dict]) -> int:
    reserve_pages = 0
    for zone in zones:
        most = 0
        for reserve in zone["lowmem_reserve"]:
            most = max(most, reserve)
        most += zone["high"]
        reserve_pages += min(most, zone["managed"])
    return reserve_pages


def nr_free_buffer_pages(zones: list[dict]) -> int:
    total = 0
    for zone in zones:
        if zone["name"] in {"DMA", "DMA32", "Normal"} and zone["managed"] > zone.get("high", 0):
            total += zone["managed"] - zone.get("high", 0)
    return total


def calculate_min_free_kbytes(zones: list[dict], page_shift: int) -> int:
    lowmem_kbytes = nr_free_buffer_pages(zones) * ((1 << page_shift) >> 10)
    return min(max(int_sqrt(lowmem_kbytes * 16), 128), 262144)


def set_recommended_min_free_kbytes(
    zones: list[dict], min_free_kbytes: int, pageblock_pages: int, page_shift: int
) -> int:
    nr_zones = 0
    for zone in zones:
        if zone["present"] and zone["name"] in {"DMA", "DMA32", "Normal"}:
            nr_zones += 1
    recommended_min = pageblock_pages * nr_zones * 2
    recommended_min += pageblock_pages * nr_zones * 3 * 3
    recommended_min = min(recommended_min, nr_free_buffer_pages(zones) // 20)
    recommended_min <<= page_shift - 10
    return max(min_free_kbytes, recommended_min)


def zone_batchsize(managed: int, page_size: int) -> int:
    batch = min(managed >> 12, (256 * 1024) // page_size)
    if batch <= 1:
        return 1
    batch += batch // 2
    power = 1
    while power * 2 <= batch:
        power *= 2
    return power - 1


def zone_highsize(zone: dict, batch: int, nr_cpus: int, high_fraction: int) -> int:
    total_pages = zone["managed"] // high_fraction if high_fraction else zone["low"]
    high = total_pages // nr_cpus
    return max(high, batch << 2)
