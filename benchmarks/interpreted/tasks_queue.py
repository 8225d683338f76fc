"""A scheduler whose tasks hand packets on through queues: objects, methods and lists (as Richards is)."""

import sys

ROUNDS = int(sys.argv[1])


class Packet:
    """What is handed on."""

    def __init__(self, owner, kind, link=None):
        self.owner, self.kind, self.link = owner, kind, link
        self.data = [0] * 4


class Task:
    """Takes packets from its queue and gives new ones to the next."""

    def __init__(self, number):
        self.number, self.queue, self.done, self.next = number, [], 0, None

    def put(self, packet):
        self.queue.append(packet)

    def step(self):
        if not self.queue:
            return False
        packet = self.queue.pop(0)
        packet.data[self.done % 4] = (self.number, self.done)
        self.done += 1
        self.next.put(self.changed(packet))
        return True

    def changed(self, packet):
        return Packet(self.number, packet.kind, packet.link)


class Worker(Task):
    """Counts in its packets."""

    def changed(self, packet):
        fresh = Packet(self.number, packet.kind + 1, packet)
        fresh.link = None
        fresh.data = [value + 1 if isinstance(value, int) else value for value in packet.data]
        return fresh


class Device(Task):
    """Keeps some for later."""

    def __init__(self, number):
        super().__init__(number)
        self.held = {}

    def changed(self, packet):
        self.held[self.done % 64] = packet
        return super().changed(packet)


for _ in range(ROUNDS):
    tasks = [(Task, Worker, Device)[n % 3](n) for n in range(6)]
    for one, other in zip(tasks, tasks[1:] + tasks[:1], strict=True):
        one.next = other
    for number in range(8):
        tasks[number % 6].put(Packet(0, number))
    for _ in range(600):
        for task in tasks:
            task.step()
