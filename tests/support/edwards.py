"""Points of edwards25519, added by the textbook (RFC 8032, section 5.1): an oracle for what a key is."""

from __future__ import annotations

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P

Point = tuple[int, int]
NEUTRAL: Point = (0, 1)


def decoded(key: bytes) -> Point:
    """Also of encodings that are not canonical."""
    number = int.from_bytes(key, "little")
    y, sign = number % 2**255 % P, number >> 255
    x = _root((y * y - 1) * pow(D * y * y + 1, -1, P))
    assert x is not None
    return (x if x % 2 == sign else -x % P), y


def times_eight(point: Point) -> Point:
    for _ in range(3):
        point = _added(point, point)
    return point


def low_order_keys() -> list[bytes]:
    """Every encoding of the points P with 8 P = O: y of order 1, 2, 4, and the four roots of d y^4 + 2 y^2 = 1."""
    ys = {1, P - 1, 0}
    for root_of in (_root(1 + D), -(_root(1 + D) or 0)):
        assert root_of is not None
        y = _root((root_of - 1) * pow(D, -1, P))
        ys |= set() if y is None else {y, P - y}
    encodings = [y + more for y in sorted(ys) for more in (0, P) if y + more < 2**255]
    return [(y | sign << 255).to_bytes(32, "little") for y in encodings for sign in (0, 1)]


def _root(square: int) -> int | None:
    """A square root modulo P; None where there is none."""
    x = pow(square, (P + 3) // 8, P)
    for candidate in (x, x * pow(2, (P - 1) // 4, P) % P):
        if (candidate * candidate - square) % P == 0:
            return candidate
    return None


def _added(a: Point, b: Point) -> Point:
    (x1, y1), (x2, y2) = a, b
    product = D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P,
    )
