"""The packets of MQTT 3.1.1 that a client with QoS 0 and 1 says and hears. Pure: bytes in, bytes out."""

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP = 0x20, 0x30, 0x40, 0x90, 0xD0
PINGREQ, DISCONNECT = b"\xc0\x00", b"\xe0\x00"
#: A body's length has at most four bytes.
MAX_LENGTH = 268435455

REFUSALS = {
    1: "the broker does not speak MQTT 3.1.1",
    2: "the broker does not take this client id",
    3: "the broker takes nobody now",
    4: "wrong user or password",
    5: "wrong user or password, or the broker does not let it in",
}


class Malformed(Exception):
    """What came is not MQTT as it may come to us."""


def text(value):
    data = value.encode() if isinstance(value, str) else value
    if len(data) > 65535:
        raise ValueError("a text of MQTT has at most 65535 bytes")
    return len(data).to_bytes(2, "big") + data


def packet(first, *parts):
    """In one piece: a packet written in several waits for acknowledgements of the network."""
    length = sum(len(each) for each in parts)
    if length > MAX_LENGTH:
        raise ValueError("the packet is too long")
    head = bytearray([first])
    while True:
        length, low = length >> 7, length & 0x7F
        head.append(low | (0x80 if length else 0))
        if not length:
            return bytes(head) + b"".join(parts)


def connect(client_id, keepalive, user=None, password=None, will=None):
    """keepalive: seconds. will: (topic, payload), said by the broker and retained when we are gone. The session is a clean one."""
    flags, parts = 2, [text(client_id)]
    if will is not None:
        flags |= 0x24
        parts += [text(will[0]), text(will[1])]
    if user is not None:
        flags |= 0x80
        parts.append(text(user))
        if password is not None:
            flags |= 0x40
            parts.append(text(password))
    return packet(0x10, b"\x00\x04MQTT\x04", bytes([flags]), keepalive.to_bytes(2, "big"), *parts)


def publish(topic, payload, pid=0, retain=False, dup=False):
    """With QoS 1 if there is a packet id, else with QoS 0."""
    data = payload.encode() if isinstance(payload, str) else payload
    first = PUBLISH | (0x02 if pid else 0) | (0x01 if retain else 0) | (0x08 if dup else 0)
    return packet(first, text(topic), pid.to_bytes(2, "big") if pid else b"", data)


def puback(pid):
    return packet(PUBACK, pid.to_bytes(2, "big"))


def subscribe(pid, topics, qos):
    return packet(0x82, pid.to_bytes(2, "big"), *[text(each) + bytes([qos]) for each in topics])


def published(first, body):
    """(topic, payload, packet id or 0, retained) of a PUBLISH. Raises Malformed."""
    qos = first >> 1 & 3
    end = 2 + int.from_bytes(body[:2], "big")
    start = end + 2 if qos else end
    if qos > 1 or len(body) < start or end == 2:
        raise Malformed("a message that is none")
    pid = int.from_bytes(body[end:start], "big")
    if qos and not pid:
        raise Malformed("a message with the packet id 0")
    try:
        topic = str(body[2:end], "utf-8")
    except (UnicodeError, ValueError):
        raise Malformed("a topic that is no UTF-8") from None
    return topic, body[start:], pid, bool(first & 1)


def acknowledged(first, body):
    """The packet id of a PUBACK. Raises Malformed."""
    if first != PUBACK or len(body) != 2:
        raise Malformed("an acknowledgement that is none")
    return int.from_bytes(body, "big")


def check_head(first, length):
    """Raises Malformed for the beginning of what no broker sends: what follows need not be waited for."""
    if first & 0xF0 != PUBLISH and (first not in (CONNACK, PUBACK, SUBACK, PINGRESP) or length > 64):
        raise Malformed("it is no broker, or a bad one: a packet 0x%02x of %d bytes" % (first, length))


def connected(first, body):
    """What the broker has against us, in words; empty if nothing. Raises Malformed."""
    if first != CONNACK or len(body) != 2:
        raise Malformed("it does not answer as a broker does")
    return REFUSALS.get(body[1], "the broker refuses it (%d)" % body[1]) if body[1] else ""


def subscribed(first, body, pid, topics):
    """Those of the topics that are denied. Raises Malformed."""
    if first != SUBACK or len(body) != 2 + len(topics) or int.from_bytes(body[:2], "big") != pid:
        raise Malformed("an answer to no subscription of ours")
    return [topics[index] for index in range(len(topics)) if body[2 + index] > 2]
