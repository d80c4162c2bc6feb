"""Publish and subscribe with PyPI's paho-mqtt: mqtt_paho.py HOST PORT VERSION(3|5) [CERTIFICATE].

Ends with 0 when every step went as the norm says.
"""

import os
import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

HOST, PORT, VERSION = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
CERTIFICATE = sys.argv[4] if len(sys.argv) > 4 else None
UNIQUE = f"{os.getpid()}-{VERSION}"
PATIENCE = 20


class Client:
    """A connected client, its events in queues."""

    def __init__(self, name, clean=True, expiry=0, will=None, receive_maximum=None):
        five = VERSION == 5
        protocol = mqtt.MQTTv5 if five else mqtt.MQTTv311
        options = {} if five else {"clean_session": clean}
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"{name}-{UNIQUE}", protocol=protocol, **options
        )
        if CERTIFICATE:
            self.client.tls_set(ca_certs=CERTIFICATE)
        self.messages, self.granted, self.connected, self.left = (queue.Queue() for _ in range(4))
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.on_subscribe = lambda c, u, mid, codes, p: self.granted.put(codes)
        self.client.on_connect = lambda c, u, flags, code, p: self.connected.put((flags, code, p))
        self.client.on_disconnect = lambda c, u, flags, code, p: self.left.put(code)
        if will:
            self.client.will_set(*will)
        if five:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = expiry
            if receive_maximum:
                properties.ReceiveMaximum = receive_maximum
            self.client.connect(HOST, PORT, clean_start=clean, properties=properties)
        else:
            self.client.connect(HOST, PORT)
        self.client.loop_start()
        flags, code, self.properties = self.connected.get(timeout=PATIENCE)
        assert code == 0, code
        self.present = flags.session_present

    def subscribe(self, *arguments, **named):
        self.client.subscribe(*arguments, **named)
        return self.granted.get(timeout=PATIENCE)

    def publish(self, topic, payload, qos, **named):
        self.client.publish(topic, payload, qos, **named).wait_for_publish(timeout=PATIENCE)

    def next(self):
        return self.messages.get(timeout=PATIENCE)

    def leave(self):
        self.client.disconnect()
        self.client.loop_stop()


def every_quality_arrives():
    reader, writer = Client("reader"), Client("writer")
    assert reader.subscribe(f"paho/{UNIQUE}/#", 2)[0].value == 2
    for qos in (0, 1, 2):
        for number in range(30):
            writer.publish(f"paho/{UNIQUE}/{qos}", str(number), qos)
        for number in range(30):
            came = reader.next()
            assert (came.topic, came.payload.decode(), came.qos) == (
                f"paho/{UNIQUE}/{qos}",
                str(number),
                qos,
            ), (came.topic, came.payload, came.qos)
    reader.leave(), writer.leave()


def a_kept_session_gets_what_came_meanwhile():
    first = Client("kept", clean=False, expiry=600)
    first.subscribe(f"away/{UNIQUE}", 1)
    first.leave()
    writer = Client("meanwhile")
    for number in range(30):
        writer.publish(f"away/{UNIQUE}", str(number), 1)
    second = Client("kept", clean=False, expiry=600, receive_maximum=5)
    assert second.present
    assert [int(second.next().payload) for _ in range(30)] == list(range(30))
    second.leave(), writer.leave()


def the_same_client_id_takes_over():
    first = Client("twin")
    second = Client("twin")
    code = first.left.get(timeout=PATIENCE)
    if VERSION == 5:
        assert code.value == 0x8E, code
    first.client.loop_stop()
    second.leave()


def options_of_five():
    reader = Client("own")
    reader.subscribe(f"own/{UNIQUE}", options=SubscribeOptions(qos=1, noLocal=True))
    reader.publish(f"own/{UNIQUE}", "mine", 1)
    other = Client("other")
    other.publish(f"own/{UNIQUE}", "yours", 1)
    assert reader.next().payload == b"yours"
    other.publish(f"keep/{UNIQUE}", "kept", 1, retain=True)
    reader.subscribe(
        f"keep/{UNIQUE}", options=SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=2)
    )
    other.publish(f"keep/{UNIQUE}", "again", 1, retain=True)
    came = reader.next()
    assert came.payload == b"again" and came.retain
    other.publish(f"keep/{UNIQUE}", "", 1, retain=True)
    reader.leave(), other.leave()


def an_alias_stands_for_a_topic():
    reader, writer = Client("aliased"), Client("alias")
    reader.subscribe(f"alias/{UNIQUE}", 1)
    properties = Properties(PacketTypes.PUBLISH)
    properties.TopicAlias = 1
    writer.publish(f"alias/{UNIQUE}", "first", 1, properties=properties)
    writer.publish("", "second", 1, properties=properties)
    assert [reader.next().payload for _ in range(2)] == [b"first", b"second"]
    reader.leave(), writer.leave()


def the_will_comes_when_the_keep_alive_runs_out_or_the_client_asks():
    reader = Client("mourner")
    reader.subscribe(f"paho-will/{UNIQUE}", 1)
    dying = Client("dying", will=(f"paho-will/{UNIQUE}", "gone", 1))
    dying.client.socket().close()
    assert reader.next().payload == b"gone"
    dying.client.loop_stop()
    reader.leave()


STEPS = [
    every_quality_arrives,
    a_kept_session_gets_what_came_meanwhile,
    the_same_client_id_takes_over,
    the_will_comes_when_the_keep_alive_runs_out_or_the_client_asks,
]
if VERSION == 5:
    STEPS += [options_of_five, an_alias_stands_for_a_topic]
for step in STEPS:
    step()
    print("ok", step.__name__)
# Threads of clients that were cut off would hold up the end.
os._exit(0)
