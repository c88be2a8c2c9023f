"""A pure model of what RabbitMQ does with a worker's commands, for tests of the scheduler."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from math import inf

from taketurns.worker.commands import Command, Fetch, GiveBack, Listen, Start, Unlisten
from taketurns.worker.turns import Turns

BATCH = 2


@dataclass(frozen=True, slots=True)
class Message:
    queue: str
    number: int
    seconds: float = 0.01
    kind: str = "task"


@dataclass
class Model:
    """Queues, one worker's subscriptions and slots, and the answers that are still on their way to it."""

    slots: int = 2
    max_credit: int = 4
    patience: float = inf
    """As if other workers were there if it is finite; see ``Newcomers``."""
    now: float = 0.0
    queues: dict[str, deque[Message]] = field(default_factory=dict)
    subscribed: dict[str, tuple[int, bool]] = field(default_factory=dict)
    """By queue, the number of the subscription and whether its credit is free."""
    answers: deque[tuple[str, str, Message | None, int | None]] = field(default_factory=deque)
    running: list[tuple[float, Message]] = field(default_factory=list)
    pushed: dict[Message, int] = field(default_factory=dict)
    """Unsettled messages that were pushed, each with the number of its subscription."""
    starts: list[Message] = field(default_factory=list)
    finished: list[Message] = field(default_factory=list)
    runs: list[tuple[float, float, Message]] = field(default_factory=list)
    """When each task began and ends."""
    deliveries: Counter[Message] = field(default_factory=Counter)
    turns_taken: list[int] = field(default_factory=list)
    """The messages that were asked for in each turn."""
    worst_hand: int = 0
    put_away: int = 0

    def __post_init__(self) -> None:
        self.turns: Turns[Message] = Turns(max_credit=self.max_credit)
        self.turns.newcomers.patience = self.patience
        self._number = 0

    # ---- the outside

    def publish(self, queue: str, count: int = 1, seconds: float = 0.01, kind: str = "task") -> None:
        for _ in range(count):
            self._number += 1
            self.queues.setdefault(queue, deque()).append(Message(queue, self._number, seconds, kind))
        self._push(queue)

    def answer(self) -> None:
        """Let the oldest answer arrive, and the worker act on it."""
        kind, queue, message, remaining = self.answers.popleft()
        if kind == "push":
            assert message is not None
            self.turns.delivered(queue, message, message.kind)
        elif message is None:
            self.turns.fetch_empty(queue)
        else:
            self.turns.fetched(queue, message, remaining, message.kind)
        self.act()

    def finish(self, index: int = 0) -> None:
        """End a running task and settle its message."""
        until, message = self.running.pop(index)
        self.now = max(self.now, until)
        self._settle(message)
        self.finished.append(message)
        self.act()

    def put_one_away(self, *, after: float) -> None:
        """Let the message started first turn out to be poison: it is settled without having run."""
        _, message = self.running.pop(0)
        self.runs = [run for run in self.runs if run[2] != message]
        self.now += after
        self.put_away += 1
        self._settle(message, ran=False)
        self.act()

    def act(self) -> None:
        """What the dispatcher does in each pass of the loop."""
        while commands := self.turns.decide(
            slots=self.slots, free=self.slots - len(self.running), now=self.now
        ):
            self._carry_out(commands)
        self.worst_hand = max(self.worst_hand, self.turns.in_hand)

    def run_until(self, until: float) -> None:
        """Run in order of the tasks' ends until that time, or until nothing runs."""
        self.settle_down()
        while self.running and self.now < until:
            self.finish(self.running.index(min(self.running, key=lambda each: each[0])))
            self.settle_down()
            if not self.running:
                self.wait()

    def settle_down(self) -> None:
        """Let every answer arrive."""
        self.act()
        while self.answers:
            self.answer()

    def wait(self) -> None:
        """Let time pass until nothing is left to decide without an event; tasks go on meanwhile."""
        while (deadline := self.turns.next_deadline()) is not None:
            self.now = max(self.now, deadline)
            self.settle_down()

    def run_dry(self) -> None:
        """Run everything there is, in order of the tasks' ends."""
        self.run_until(float("inf"))

    def seconds(self, since: float = 0.0) -> dict[str, float]:
        """Return the slot seconds that each queue's tasks have had from some time on."""
        used = dict.fromkeys(self.queues, 0.0)
        for began, ended, message in self.runs:
            used[message.queue] += max(0.0, min(ended, self.now) - max(began, since))
        return used

    def ready(self, queue: str) -> int:
        return len(self.queues.get(queue, ()))

    # ---- the broker

    def take_back(self, message: Message) -> None:
        """Let another worker give back a message that it has not started."""
        self._requeue(message)
        self._push(message.queue)

    def _requeue(self, message: Message) -> None:
        waiting = sorted([*self.queues[message.queue], message], key=lambda each: each.number)
        self.queues[message.queue] = deque(waiting)

    def _push(self, queue: str) -> None:
        number, free = self.subscribed.get(queue, (0, False))
        if free and self.queues.get(queue):
            self.subscribed[queue] = (number, False)
            message = self.queues[queue].popleft()
            self.deliveries[message] += 1
            self.pushed[message] = number
            self.answers.append(("push", queue, message, 0))

    def _settle(self, message: Message, *, requeue: bool = False, ran: bool = True) -> None:
        self._carry_out(self.turns.settling(message))
        if requeue:
            self._requeue(message)
        number = self.pushed.pop(message, 0)
        if number and self.subscribed.get(message.queue) == (number, False):
            self.subscribed[message.queue] = (number, True)
        self.turns.settled(message, self.now, ran=ran)
        self._push(message.queue)

    def _carry_out(self, commands: list[Command[Message]]) -> None:
        for command in commands:
            match command:
                case Listen(queue):
                    assert queue not in self.subscribed, "subscribed twice"
                    self._number += 1
                    self.subscribed[queue] = (self._number, True)
                    self._push(queue)
                case Unlisten(queue):
                    del self.subscribed[queue]
                case Fetch(queue, count):
                    assert count > 0
                    self.turns_taken.append(count)
                    for _ in range(count):
                        waiting = self.queues.get(queue)
                        message = waiting.popleft() if waiting else None
                        if message is not None:
                            self.deliveries[message] += 1
                        # Of a batch the broker does not say what is left.
                        left = None if count >= BATCH else len(waiting or ())
                        self.answers.append(("fetch", queue, message, left))
                case Start(message):
                    assert len(self.running) < self.slots, "started without a slot"
                    self.starts.append(message)
                    self.running.append((self.now + message.seconds, message))
                    self.runs.append((self.now, self.now + message.seconds, message))
                case GiveBack(message):
                    self._settle(message, requeue=True)
