"""Reads the event files of TensorBoard."""

import struct

from tensorboardX.proto.event_pb2 import Event, SessionLog


def read(workdir):
    """Returns the events in TensorBoard's order, by file name."""
    events = []
    for path in sorted(workdir.glob("events.out.tfevents.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            events.append(Event.FromString(content[12 : 12 + length]))
            content = content[12 + length + 4 :]
    return events


def shown(workdir):
    """Returns the values by (tag, step), without the steps that a restart repeats.

    Fails if a value would be shown twice.
    """
    values = {}
    for event in read(workdir):
        if event.session_log.status == SessionLog.START:
            values = {key: x for key, x in values.items() if key[1] < event.step}
        for value in event.summary.value:
            assert (value.tag, event.step) not in values, value.tag
            values[value.tag, event.step] = value
    return values
